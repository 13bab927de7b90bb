"""Where a worker was found survives a save, beside its host and port, and disturbs nothing else there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synaptic.endpoint import Endpoint
from synaptic.settings.origins import Origin, noted, origins
from synaptic.settings.settings import VARIABLE, Settings

A, B, C = (Endpoint("192.168.1.10", port) for port in (1, 2, 3))
FOUND = Origin("zeroconf", "02:00:00:00:00:0a", "zeroconf left box 50052")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


def load(path: Path, **variables: str) -> Settings:
    return Settings.load(path, variables)


def test_what_was_told_of_a_new_worker_is_there_after_a_restart(path):
    load(path).add_backends([A, B], {A: FOUND})
    assert load(path).origins() == {A: FOUND, B: Origin()}
    first, second = json.loads(path.read_text())["rpc_backends"]
    assert first == {
        "host": "192.168.1.10",
        "port": 1,
        "source": "zeroconf",
        "mac": "02:00:00:00:00:0a",
        "instance": "zeroconf left box 50052",
    }
    assert second == {"host": "192.168.1.10", "port": 2}


def test_a_worker_that_is_there_already_keeps_what_is_said_of_it(path):
    load(path).add_backends([A], {A: FOUND})
    load(path).add_backends([A, B], {A: Origin("scan"), B: Origin("scan")})
    assert load(path).origins() == {A: FOUND, B: Origin("scan")}


def test_what_is_noted_later_leaves_all_else_as_it_is(path):
    written = ["192.168.1.10:1", {"port": "2", "rack": [7], "host": "192.168.1.10", "mac": "02:00:00:00:00:01"}, {"odd": 1}]
    path.write_text(json.dumps({"other": 1, "rpc_backends": written}))
    load(path).note_origins({A: FOUND, B: FOUND, C: FOUND})
    document = json.loads(path.read_text())
    changed = {"port": "2", "rack": [7], "host": "192.168.1.10", "source": FOUND.source, "mac": FOUND.mac, "instance": FOUND.instance}
    assert document == {"other": 1, "rpc_backends": [written[0], changed, written[2]]}
    load(path).note_origins({B: Origin("scan")})
    assert json.loads(path.read_text())["rpc_backends"][1] == {"port": "2", "rack": [7], "host": "192.168.1.10", "source": "scan"}


def test_nothing_is_written_for_what_is_known(path):
    load(path).add_backends([A], {A: FOUND})
    before = path.stat()
    load(path).note_origins({A: FOUND, B: FOUND})
    assert path.stat() == before


def test_the_source_says_how_each_came_to_be_known(path):
    load(path).add_backends([A, B, C], {A: Origin("scan"), B: Origin("consul")})
    said = load(path, **{VARIABLE: f"{A},{B},192.168.1.11:4"})
    assert said.sources() == {A: "environment", B: "consul", C: "configured", Endpoint("192.168.1.11", 4): "environment"}
    flagged = Settings.load(path, {}, {"rpc_backends": [str(A)]})
    assert flagged.sources() == {A: "configured", B: "consul", C: "configured"}


@pytest.mark.parametrize("field", [7, None, ["x"], {"a": 1}, "\x1b[2Jx" * 100])
def test_what_cannot_be_is_as_if_it_were_missing(field):
    entry = {"host": "192.168.1.10", "port": 1, "source": field, "mac": field, "instance": field}
    (origin,) = origins([entry]).values()
    assert origin.mac == ""
    assert len(origin.source) <= 20
    assert len(origin.instance) <= 100
    assert "\x1b" not in origin.source + origin.instance
    assert isinstance(field, str) or origin == Origin()


@pytest.mark.parametrize("value", [None, 7, "192.168.1.10:1", [7, None, {"port": 1}], {}])
def test_a_list_that_is_none_is_left_alone(value):
    assert noted(value, {A: FOUND}) == ([] if value is None else value if isinstance(value, list) else [value])
