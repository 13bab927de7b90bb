"""What was measured survives the program; what is broken or hostile counts as nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synaptic.endpoint import Endpoint
from synaptic.errors import SynapticError
from synaptic.planning.costmodel import Prediction
from synaptic.planning.predictions import Measured, Predictions
from synaptic.planning.speeds import LIMIT, MOST, Speed, Speeds
from synaptic.planning.term import Term

ONE = Endpoint("10.0.0.1", 50052)
PREDICTION = Prediction(
    (9.0, 11.0), (100.0, 200.0), (1.0, 2.0), "memory bandwidth of x, 90% of each token", (Term("memory", 0.09), Term("host", 0.01))
)


def test_a_measured_speed_is_there_the_next_time(tmp_path: Path) -> None:
    speed = Speed(25e9, 0.0001, 1e9, 1700000000.0, 1e11, 8 << 30)
    Speeds(tmp_path / "state" / "speeds.json").note({ONE: speed})
    Speeds(tmp_path / "state" / "speeds.json").note({Endpoint("::1", 2): Speed(1e9)})
    assert Speeds(tmp_path / "state" / "speeds.json").all() == {ONE: speed, Endpoint("::1", 2): Speed(1e9)}


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = Speeds(tmp_path / "s.json")
    store.note({Endpoint("10.0.0.1", port): Speed(1e9, measured_at=float(port)) for port in range(1, MOST + 100)})
    ports = {endpoint.port for endpoint in store.all()}
    assert len(ports) == MOST
    assert min(ports) == 100
    assert (tmp_path / "s.json").stat().st_size < LIMIT
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


@pytest.mark.parametrize("value", [-1, 0, True, "fast", None, 10**400, [], {}])
def test_a_bandwidth_that_cannot_be_is_no_speed(tmp_path: Path, value: object) -> None:
    (tmp_path / "s.json").write_text(json.dumps({"workers": {str(ONE): {"bandwidth": value}}}))
    assert Speeds(tmp_path / "s.json").all() == {}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"workers": 3}', '{"workers": {"no address!": {"bandwidth": 1}}}', "[" * 100_000, "\xff"])
def test_a_broken_file_is_an_empty_one_and_can_be_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text, encoding="latin-1")
    store = Speeds(tmp_path / "s.json")
    assert store.all() == {}
    store.note({ONE: Speed(1e9)})
    assert store.all() == {ONE: Speed(1e9)}


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SynapticError, match=r"cannot write .*s\.json"):
        Speeds(tmp_path / "file" / "s.json").note({ONE: Speed(1e9)})


def test_without_a_home_nothing_is_kept() -> None:
    Speeds(None).note({ONE: Speed(1e9)})
    assert Speeds(None).all() == {}


def test_a_prediction_comes_back_with_its_measurement(tmp_path: Path) -> None:
    Predictions(tmp_path / "p.jsonl").record("demo", PREDICTION, Measured(10.5, 120.0, 30), at=5.0)
    last = Predictions(tmp_path / "p.jsonl").last()
    assert last
    assert (last.model, last.at, last.prediction, last.measured) == ("demo", 5.0, PREDICTION, Measured(10.5, 120.0, 30))


def test_lines_that_are_no_records_are_passed_over(tmp_path: Path) -> None:
    line = {"model": "old", "at": 1.0, "prediction": {}, "measured": {}}
    (tmp_path / "p.jsonl").write_text((json.dumps(line) + "\n") * 3)
    store = Predictions(tmp_path / "p.jsonl")
    assert store.last() is None
    store.record("demo", PREDICTION, Measured(None, None))
    assert [record.model for record in store.all()] == ["demo"]


def test_without_a_home_the_last_one_is_remembered() -> None:
    store = Predictions(None)
    assert store.last() is None
    store.record("demo", PREDICTION, Measured(1.0, 1.0))
    assert store.last().model == "demo"
