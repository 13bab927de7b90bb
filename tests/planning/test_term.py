"""A term is written as one reads it, and is read back as what it was."""

from __future__ import annotations

import json

import pytest

from synaptic.planning.term import COMPUTE, MEMORY, Term, Tie
from synaptic.results import to_json

WORKER = "10.0.0.1:50052"


@pytest.mark.parametrize(
    ("term", "written"),
    [
        (Term(MEMORY, 0.01, WORKER), f"memory bandwidth of {WORKER}"),
        (Term(COMPUTE, 0.01, "this machine"), "compute of this machine"),
        (Term(COMPUTE, 0.01, f"{WORKER}, the slowest"), f"compute of {WORKER}, the slowest"),
        (Term("network latency", 0.01, "[fe80::1%eth0]:50052", Tie.TO), "network latency to [fe80::1%eth0]:50052"),
        (Term("66 exchanges", 0.01, f"{WORKER} and the others", Tie.WITH), f"66 exchanges with {WORKER} and the others"),
        (Term("reading layers", 0.01, "disk", Tie.FROM), "reading layers from disk"),
        (Term("the coordinator", 0.01), "the coordinator"),
        (Term("the output, here", 0.01), "the output, here"),
    ],
    ids=str,
)
def test_what_is_written_down_is_read_back(term: Term, written: str) -> None:
    name, seconds = json.loads(json.dumps(to_json(term)))
    assert (name, seconds) == (written, 0.01)
    assert Term.read(name, seconds) == term


def test_work_is_a_machines_and_no_networks() -> None:
    assert Term(MEMORY, 0.01, WORKER).is_work
    assert not Term("RPC", 0.01, WORKER, Tie.TO).is_work
    assert not Term("the coordinator", 0.01).is_work
