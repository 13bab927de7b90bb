"""The terms of a distributed-llama answer, predicted beside measured."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from dllamas import DEMO_M, dllama_program

from synaptic.commands import load
from synaptic.commands.explain_root import Compared, bottleneck_of, fixes_of_dllama, is_of, terms_of
from synaptic.engines.answer import Reply
from synaptic.engines.engine import Message
from synaptic.engines.root_events import Figures, NodeFigures, RootAnswered
from synaptic.engines.running_root import HERE
from synaptic.environment import Environment
from synaptic.models.model import DLLAMA
from synaptic.planning.costmodel import Prediction
from synaptic.planning.predictions import Measured, Record
from synaptic.planning.term import Term
from synaptic.session import Session
from synaptic.settings import Settings

A, B = "10.0.0.1:9999", "10.0.0.2:9999"


def said(*terms: tuple[str, float]) -> Prediction:
    return Prediction((1.0, 2.0), (1.0, 2.0), (1.0, 2.0), "", tuple(Term.read(*term) for term in terms))


def answered(split: str, *nodes: tuple[str, float], waiting: float = 0.0) -> RootAnswered:
    """10 tokens; ms of all of them."""
    figures = Figures(10, 50.0, waiting, tuple(NodeFigures(name, 0, 0, ms) for name, ms in (*nodes, (HERE, 50.0))))
    return RootAnswered(model="m", split=split, prompt=Figures(), answer=figures)


def test_of_runs_of_layers_each_worker_has_its_own_wait() -> None:
    expected = said(
        (f"compute of {A}", 0.02),
        (f"compute of {B}", 0.01),
        (f"network to {A}", 0.001),
        (f"network to {B}", 0.001),
        ("the output, here", 0.004),
    )
    terms = terms_of(expected, answered("layers", (A, 200.0), (B, 600.0)), 90.0)
    assert [each.what for each in terms] == [
        f"compute of {A} and network to {A}",
        f"compute of {B} and network to {B}",
        "the output, here",
        "measured, beyond the terms",
    ]
    assert [each.predicted for each in terms] == [pytest.approx(21.0), pytest.approx(11.0), pytest.approx(4.0), None]
    assert [each.measured for each in terms] == [20.0, 60.0, 5.0, 5.0]
    assert bottleneck_of(terms) == f"compute of {B} and network to {B}, 67% of each token as measured, 5.5 times what was predicted"


def test_of_shares_all_are_waited_for_together() -> None:
    expected = said((f"compute of {A}, the slowest", 0.005), (f"66 exchanges with {B} and the others", 0.02))
    waited, computed = terms_of(expected, answered("tensor", (A, 100.0), (B, 100.0), waiting=200.0), None)
    assert waited == Compared(f"66 exchanges with {B} and the others", 20.0, 20.0)
    assert computed == Compared(f"compute of {A}, the slowest", 5.0, 5.0)
    assert bottleneck_of([waited, computed]).endswith("80% of each token as measured, as predicted")


def test_here_alone_the_disk_is_what_is_waited_for() -> None:
    terms = terms_of(said(("reading layers from disk", 0.03), ("the output, here", 0.005)), answered("none", waiting=300.0), 35.0)
    assert [(each.predicted, each.measured) for each in terms] == [(30.0, 30.0), (5.0, 5.0)]


def test_a_record_of_another_answer_of_the_model_is_not_its() -> None:
    one = answered("layers")
    assert is_of(one, Record("m", one.at + 0.1, said(), Measured(1.0, 1.0)))
    assert not is_of(one, Record("m", one.at + 60, said(), Measured(1.0, 1.0)))
    assert not is_of(one, Record("other", one.at + 0.1, said(), Measured(1.0, 1.0)))


@pytest.mark.live
@pytest.mark.anyio
async def test_an_answer_of_dllama_api_is_predicted_too_and_its_split_is_advised_about(tmp_path: Path, dllama_worker) -> None:
    pytest.importorskip("numpy")
    registry, worker = load(), dllama_worker()
    variables = {"SYNAPTICLLAMAS_HOME": str(tmp_path), "PATH": "", "DLLAMA_API": str(dllama_program("DLLAMA_API"))}
    session = Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(tmp_path / "settings.json", {}))
    try:
        await registry.parse_line(f"dllama add {worker.endpoint}").run(session)
        await registry.parse_line("dllama check --verify").run(session)
        worker.wait_until(listens=True)  # it is away for a moment after each root
        session.settings.for_now(distributed_inference_enabled=True)
        route = await session.answering.route(str(DEMO_M), via=DLLAMA)
        assert route.prediction
        async for _ in Reply(session.answering, route, (Message("user", "What is a worker?"),)).pieces():
            pass
        shown = await registry.parse_line("explain").run(session)
        fixes = await fixes_of_dllama(session, route.model.name)
    finally:
        await session.close()
    document = shown.as_json()
    assert document["model"] == route.model.name
    assert "root" not in document  # it was not ours
    assert [name for name, _ in document["prediction"]["terms"]] == [str(term) for term in route.prediction.terms]
    assert str(worker.endpoint) in document["bottleneck"]
    assert all(fix.gain >= 1.05 for fix in fixes)
