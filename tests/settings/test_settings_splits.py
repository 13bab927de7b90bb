"""How models are to be split, in the file and as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.settings import Settings
from synaptic.settings.splits import Split, with_split

A, B = Endpoint("10.0.0.1", 50052), Endpoint("fd00::2", 50053)
DEMO, OTHER = Split("demo", ((A, 3), (B, 1))), Split("big model", ((A, 80),))


def test_they_are_kept_as_they_were_saved(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    Settings.load(path, {}).save(splits=(DEMO, OTHER))
    assert Settings.load(path, {}).now.splits == (DEMO, OTHER)
    assert json.loads(path.read_text())["splits"] == ["demo 10.0.0.1:50052=3,[fd00::2]:50053=1", "big model 10.0.0.1:50052=80"]


def test_what_is_shown_can_be_typed(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path / "settings.json", {})
    assert settings.parse("splits", "; ".join(map(str, (DEMO, OTHER)))) == (DEMO, OTHER)
    assert settings.parse("splits", "demo 10.0.0.1=4") == (Split("demo", ((A, 4),)),), "the port is that of an rpc-server"
    assert settings.parse("splits", "default") is None


def test_a_model_has_one_split() -> None:
    newer = Split("demo", ((B, 4),))
    assert with_split((DEMO, OTHER), newer) == (OTHER, newer)


@pytest.mark.parametrize(
    "text", ["demo", "demo 10.0.0.1:50052", "demo 10.0.0.1:50052=0", "demo 10.0.0.1=x", "demo 10.0.0.1=1,10.0.0.1=2", " 10.0.0.1=1"]
)
def test_what_is_no_split_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="splits is MODEL HOST:PORT=LAYERS"):
        Settings.load(tmp_path / "settings.json", {}).parse("splits", text)


@pytest.mark.parametrize("value", ["demo", {"demo": 1}, ["demo"], ["demo a=b"], [3], [["demo a=1"]]])
def test_one_that_is_broken_in_the_file_is_told_and_does_not_count(tmp_path: Path, value: object) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"splits": value}))
    settings = Settings.load(path, {})
    assert settings.now.splits == ()
    assert any("splits is" in warning for warning in settings.warnings)
