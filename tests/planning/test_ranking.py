"""Which node answers: the one where it would be over first."""

from __future__ import annotations

import dataclasses

import pytest

from synaptic.cluster.backend import Kind, State
from synaptic.cluster.node import Node, NodeState
from synaptic.cluster.server_load import Percentiles, ServerLoad
from synaptic.models.model import OLLAMA, Model, Offer
from synaptic.planning.ranking import rank

GB = 10**9


def node(name: str, *, priority: int = 0, **known) -> NodeState:
    given = {"state": State.IDLE, "health": "ready", "latency_ms": 1.0} | known
    return NodeState(Node(f"http://{name}:11434", Kind.OLLAMA, priority=priority), **given)


def model(**offers: bool) -> Model:
    """Each node that offers it, and whether it is in memory there."""
    offered = tuple(Offer("m", f"http://{name}:11434", OLLAMA, 4 * GB, is_loaded=loaded) for name, loaded in offers.items())
    return Model("m", "node", None, "llama", 8 * GB, 8 * GB, 32, 8192, "Q4_0", 4 * GB, (OLLAMA,), offers=offered)


def order(states: list[NodeState], wanted: Model) -> str:
    return "".join(state.node.endpoint.host for state, _ in rank(states, wanted))


def test_a_node_with_the_model_in_memory_is_first() -> None:
    assert order([node("a"), node("b")], model(a=False, b=True)) == "ba"


def test_among_equals_the_one_that_does_least() -> None:
    assert order([node("a", running=2), node("b", running=1), node("c")], model(a=True, b=True, c=True)) == "cba"


def test_a_warm_node_that_is_busy_loses_to_a_cold_one_that_is_not() -> None:
    states = [node("a", running=3, tokens_per_second=20.0), node("b", tokens_per_second=20.0)]
    assert order(states, model(a=True, b=False)) == "ba"
    assert order([dataclasses.replace(states[0], running=0), states[1]], model(a=True, b=False)) == "ab"


def test_the_faster_one_even_when_it_has_something_to_do() -> None:
    assert order([node("a", tokens_per_second=5.0), node("b", tokens_per_second=50.0, running=1)], model(a=True, b=True)) == "ba"


def test_a_new_one_gets_its_chance() -> None:
    assert order([node("a", tokens_per_second=50.0, running=1), node("b")], model(a=True, b=True)) == "ba"


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"priority": 1}, {}),
        ({"latency_ms": 1.0}, {"latency_ms": 80.0}),
        ({"memory": GB}, {"memory": 9 * GB}),
        ({"priority": 1, "latency_ms": 80.0}, {}),
    ],
)
def test_small_things_decide_among_equals(better: dict, worse: dict) -> None:
    assert order([node("a", **worse), node("b", **better)], model(a=True, b=True)) == "ba"


@pytest.mark.parametrize(
    "away", [{"state": State.UNREACHABLE, "health": "lost"}, {"health": "resting"}, {"state": State.UNVERIFIED, "health": "unknown"}]
)
def test_those_that_are_not_ready_or_have_it_not_are_left_out(away: dict) -> None:
    assert order([node("a", **away), node("b"), node("c")], model(a=True, b=False)) == "b"
    assert rank([], model(a=True)) == []


def test_what_speaks_for_it_is_said() -> None:
    state = node("a", tokens_per_second=41.2, running=1, priority=2)
    assert rank([state], model(a=True))[0][1] == "its model is loaded, 1 request of ours there, 41 tok/s, 1 ms away, priority 2"
    assert rank([node("a", latency_ms=None)], model(a=False))[0][1] == ""


def told(name: str, running: int = 0, waiting: int = 0, kv_used: float = 0.0, itl: float | None = None, **known) -> NodeState:
    """A server that writes many answers at once, and says how it is."""
    between = Percentiles(itl, itl) if itl else None
    return node(name, load=ServerLoad(running, waiting, kv_used, itl=between), **known)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"waiting": 2, "running": 4}),
        ({"kv_used": 0.5}, {"kv_used": 0.97}),
        ({"running": 2}, {"running": 30}),
        ({"running": 8}, {"running": 8, "waiting": 8}),
        ({"itl": 0.02}, {"itl": 0.1}),
    ],
)
def test_a_server_that_tells_its_load_is_taken_at_its_word(better: dict, worse: dict) -> None:
    assert order([told("a", **worse), told("b", **better)], model(a=True, b=True)) == "ba"


def test_answers_beside_ours_cost_one_that_batches_little_and_another_one_all_their_time() -> None:
    both = {"running": 3, "tokens_per_second": 20.0}
    batching = dataclasses.replace(told("b", running=3, tokens_per_second=20.0), running=3)
    assert order([node("a", **both), batching], model(a=True, b=True)) == "ba"


def test_the_why_says_what_others_do_there() -> None:
    [(_, why)] = rank([told("a", running=4, waiting=2, kv_used=0.91)], model(a=True))
    assert why == "its model is loaded, 4 running and 2 waiting there, its KV cache 91% full, 1 ms away"
    [(_, why)] = rank([told("a", kv_used=0.4)], model(a=True))
    assert why == "its model is loaded, 1 ms away"
