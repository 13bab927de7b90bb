"""What was measured corrects what is predicted next."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from synaptic.planning.costmodel import MEASURED, SPECIFIED, Prediction
from synaptic.planning.predictions import ANSWER, FULL, Measured, Predictions, Record, corrected
from synaptic.planning.term import MEMORY, Term

A, B = "10.0.0.1:50052", "10.0.0.2:50052"


def said(*machines: str, slots: int = 1) -> Prediction:
    """100 tokens/s for each slot, half of the time memory."""
    terms = [Term(MEMORY, 0.005 / len(machines), machine) for machine in machines]
    return Prediction((65.0, 135.0), (1.0, 2.0), (1.0, 2.0), "memory", (*terms, Term("the coordinator", 0.005)), True, slots)


def record(rate: float, *machines: str, model: str = "m", tokens: int = 100, slots: int = 1) -> Record:
    return Record(model, 1.0, said(*machines, slots=slots), Measured(rate, 10.0, tokens))


def test_the_machines_are_those_of_the_terms() -> None:
    assert said(A, B).machines == (A, B)


def test_half_as_fast_as_said_is_believed_the_next_time() -> None:
    found = corrected(said(A, B), "m", [record(rate, A, B) for rate in (40.0, 50.0, 60.0)])
    assert (found.learned, found.learned_from, found.is_assumed) == (0.5, 3, False)
    assert found.tokens_per_second == pytest.approx((40.0, 60.0))  # wider than ±15 %, as they were
    assert found.terms == said(A, B).terms
    assert found.expected == said(A, B).expected  # what is learned from the next answer is learned from the terms


def test_steady_measurements_leave_the_models_own_error() -> None:
    found = corrected(said(A), "m", [record(200.0, A)] * 5)
    assert found.tokens_per_second == pytest.approx((200 * (1 - MEASURED), 200 * (1 + MEASURED)))


def test_of_another_model_on_the_same_machines_less_is_believed() -> None:
    found = corrected(said(A), "m", [record(50.0, A, model="other")])
    assert found.tokens_per_second == pytest.approx((50 * (1 - SPECIFIED), 50 * (1 + SPECIFIED)))
    both = corrected(said(A), "m", [record(50.0, A, model="other"), record(80.0, A)])
    assert both.learned == 0.8  # its own counts more


@pytest.mark.parametrize(
    "useless",
    [
        record(50.0, B),  # elsewhere
        record(50.0, A, B),  # not alone
        record(50.0, A, slots=2),  # another load
        record(50.0, A, tokens=3),  # too short
        record(1e9, A),  # no such machine
        dataclasses.replace(record(1.0, A), measured=Measured(None, None, 100)),
    ],
)
def test_what_tells_nothing_of_it_changes_nothing(useless: Record) -> None:
    assert corrected(said(A), "m", [useless]) == said(A)


def test_one_odd_measurement_of_many_does_not_widen_the_range() -> None:
    rates = [100.0] * 12 + [5.0]
    assert corrected(said(A), "m", [record(rate, A) for rate in rates]).tokens_per_second == pytest.approx((85.0, 115.0))


def test_a_machine_that_changed_is_learned_anew() -> None:
    records = [record(50.0, A)] * 30 + [record(100.0, A)] * 20
    assert corrected(said(A), "m", records).learned == 1.0


def test_it_is_learned_from_the_file_and_benchmarks_are_no_answers(tmp_path: Path) -> None:
    store = Predictions(tmp_path / "p.jsonl")
    store.record("m", said(A), Measured(100.0, 1.0, 100), at=1.0)
    store.record("m", said(A), Measured(50.0, 1.0, 100), at=2.0, source="bench-1")
    last = store.last()
    assert last
    assert (last.at, last.source) == (1.0, ANSWER)
    assert [each.source for each in store.all()] == [ANSWER, "bench-1"]
    assert (tmp_path / "p.jsonl").stat().st_mode & 0o777 == 0o600
    assert Predictions(tmp_path / "p.jsonl").corrected("m", said(A)).learned == 0.75


def test_lines_of_before_are_read_as_answers(tmp_path: Path) -> None:
    store = Predictions(tmp_path / "p.jsonl")
    store.record("m", said(A), Measured(50.0, 1.0, 100))
    entry = json.loads((tmp_path / "p.jsonl").read_text())
    del entry["source"], entry["prediction"]["learned"]
    (tmp_path / "p.jsonl").write_text(json.dumps(entry) + "\n")
    assert [each.source for each in store.all()] == [ANSWER]


def test_a_full_file_is_turned_over_and_what_it_held_still_counts(tmp_path: Path) -> None:
    path, older = tmp_path / "p.jsonl", tmp_path / "p.jsonl.1"
    store, written = Predictions(path), 0

    def write_until_it_turns() -> None:
        nonlocal written
        known = written
        while written == known or path.exists():
            store.record("m", said(A), Measured(50.0, 1.0, 100), at=float(written))
            written += 1

    write_until_it_turns()
    assert [each.at for each in store.all()] == [float(number) for number in range(written)]
    assert FULL <= older.stat().st_size < FULL + 1000
    first = written
    write_until_it_turns()
    assert [each.at for each in store.all()] == [float(number) for number in range(first, written)]  # the oldest are gone


WRITER = """
from pathlib import Path
from planning.test_predictions import A, Measured, Predictions, said
store = Predictions(Path(sys.argv[1]))
for number in range(200):
    store.record(sys.argv[2], said(A), Measured(50.0, 1.0, 100), at=float(number))
"""


def test_several_shells_write_at_once_and_no_line_is_lost(tmp_path: Path) -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}\n{WRITER}"
    shells = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "p.jsonl"), name]) for name in "abc"]
    assert [each.wait(timeout=60) for each in shells] == [0, 0, 0]
    found = Predictions(tmp_path / "p.jsonl").all()
    for name in "abc":
        assert [each.at for each in found if each.model == name] == [float(number) for number in range(200)]
