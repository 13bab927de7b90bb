"""Where a prompt goes is a pure decision: values in, a route and its reason out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from synaptic.cluster.backend import Backend, Device, Kind, State
from synaptic.cluster.node import Node, NodeState
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError
from synaptic.models.model import Model, Offer
from synaptic.planning.machine import Machine, machines_of
from synaptic.planning.plan import context_of
from synaptic.planning.ranking import rank
from synaptic.planning.routing import Situation, choose
from synaptic.planning.shape import Shape

GIB = 1024**3
B = 10**9


def model(size: int = 4 * GIB, parameters: int = 8 * B, layers: int = 32, offers: tuple[Offer, ...] = (), *, here: bool = True) -> Model:
    engines = ("ollama",) * bool(offers) + ("llama.cpp",) * here
    path = Path("/models/big.gguf") if here else None
    return Model("big", "file", path, "llama", parameters, parameters, layers, 131072, "Q4_K_M", size, engines, offers=offers)


def worker(number: int, state: State = State.IDLE, free: int = 24 * GIB, detail: str = "") -> Backend:
    return Backend(Endpoint("10.0.0.1", number), Kind.RPC, state, "7.0.0", (Device("RPC0", free - 1, free),), 1.0, "configured", detail)


def at(url: str, *, loaded: bool = False, kind: Kind = Kind.OLLAMA) -> tuple[NodeState, Offer]:
    state = NodeState(Node(url, kind), State.IDLE, "ready", latency_ms=1.0)
    return state, Offer("big:latest", url, kind.value, 4 * GIB, is_loaded=loaded)


def situation(
    asked: Model, *workers: Backend, on: bool = True, nodes: tuple[NodeState, ...] = (), here: int | None = 64 * GIB, **more: object
) -> Situation:
    ready = [each for each in workers if each.is_ready]
    shape = None
    if asked.path:
        layer = asked.bytes // (asked.layers + 1)
        shape = Shape((layer,) * asked.layers, layer, layer, 2048, 4096, 14336, 32000, asked.parameters, asked.parameters, "Q4_K_M")
    machines = machines_of(ready, {}, own=(), available=here or 0, total=64 * GIB)
    return Situation(on, Machine(None, here), workers, machines, rank(nodes, asked), shape, 8192, **more)


def choose_among(asked: Model, *workers: Backend, **more: object):
    return choose(asked, situation(asked, *workers, **more))


def test_off_means_this_machine_and_asks_no_worker() -> None:
    route = choose_among(model(), worker(1), on=False)
    assert (route.via, route.plan.workers) == ("llama.cpp", ())
    assert "distributed is off" in route.why


def test_off_means_a_node_that_has_it_where_there_is_one() -> None:
    state, offer = at("http://10.0.0.9:11434")
    route = choose_among(model(offers=(offer,)), worker(1), on=False, nodes=(state,))
    assert (route.via, route.plan, route.why) == ("ollama", None, "distributed is off; 1 ms away")


def test_on_means_the_ready_workers_with_whole_layers_for_each() -> None:
    route = choose_among(model(), worker(1), worker(2, State.IN_USE))
    assert [each.port for each in route.plan.workers] == [1, 2]
    assert sum(route.plan.tensor_split) == 33
    assert route.prediction


def test_a_lost_worker_is_left_out_and_named() -> None:
    route = choose_among(model(), worker(1), worker(2, State.UNREACHABLE))
    assert [each.port for each in route.plan.workers] == [1]
    assert "without 10.0.0.1:2 (unreachable)" in route.why


def test_workers_that_are_left_out_for_one_reason_share_it() -> None:
    full = [worker(number, free=1024**2) for number in (2, 3, 4)]
    assert "without 10.0.0.1:2, 10.0.0.1:3, 10.0.0.1:4 (it has too little free memory)" in choose_among(model(), worker(1), *full).why


@pytest.mark.parametrize("state", [State.BUSY, State.INCOMPATIBLE, State.UNREACHABLE, State.UNVERIFIED])
def test_nothing_ready_says_why_and_what_to_do(state: State) -> None:
    with pytest.raises(BackendError, match="no worker is ready; 10.0.0.1:1 it refused") as caught:
        choose_among(model(), worker(1, state, detail="it refused"))
    assert "rpc check" in str(caught.value.hint)


def test_no_worker_at_all_says_how_to_get_one() -> None:
    with pytest.raises(BackendError, match="no worker is ready") as caught:
        choose_among(model())
    assert "worker start" in str(caught.value.hint)


def test_a_model_that_is_too_large_says_how_much_is_missing_and_what_helps() -> None:
    with pytest.raises(EngineError, match="big needs .* and the workers offer .* missing") as caught:
        choose_among(model(40 * GIB, 70 * B), worker(1, free=8 * GIB), worker(2, free=8 * GIB))
    assert "worker" in str(caught.value.hint)


def test_a_model_that_is_too_large_for_this_machine_says_so() -> None:
    with pytest.raises(EngineError, match="big needs 40 GiB and this machine has 8 GiB free: 32 GiB missing"):
        choose_among(model(40 * GIB, 70 * B), on=False, here=8 * GIB)


MATRIX = [  # parameters, bytes, is it loaded at the node, free here, workers → via, and a word of the reason
    (8 * B, 4 * GIB, False, 64 * GIB, 2, "ollama", "13B"),
    (0, 4 * GIB, False, 64 * GIB, 2, "ollama", "13B"),  # how many it has is not known
    (0, 40 * GIB, False, 4 * GIB, 2, "llama.cpp", "distributed is on"),
    (13 * B, 7 * GIB, False, 64 * GIB, 2, "ollama", "13B"),
    (14 * B, 8 * GIB, False, 4 * GIB, 2, "llama.cpp", "distributed is on"),
    (70 * B, 40 * GIB, True, 4 * GIB, 2, "ollama", "fits one machine"),
    (70 * B, 40 * GIB, False, 4 * GIB, 2, "llama.cpp", "distributed is on"),
    (70 * B, 40 * GIB, False, 4 * GIB, 0, "ollama", "no worker is ready"),
    (405 * B, 228 * GIB, False, 4 * GIB, 12, "llama.cpp", "distributed is on"),
    (405 * B, 228 * GIB, True, 4 * GIB, 12, "ollama", "fits one machine"),
]


@pytest.mark.parametrize(("parameters", "size", "loaded", "here", "workers", "via", "reason"), MATRIX)
def test_the_matrix_and_what_real_bytes_overrule(parameters, size, loaded, here, workers, via, reason) -> None:
    state, offer = at("http://10.0.0.9:11434", loaded=loaded)
    asked = model(size, parameters, layers=80, offers=(offer,))
    route = choose_among(asked, *(worker(number) for number in range(1, workers + 1)), nodes=(state,), here=here)
    assert (route.via, reason in route.why) == (via, True), route.why


def test_this_machines_own_node_is_known_to_hold_what_fits_here() -> None:
    state, offer = at("http://127.0.0.1:11434")
    asked = model(40 * GIB, 70 * B, offers=(offer,))
    assert choose_among(asked, worker(1), worker(2), nodes=(state,), here=64 * GIB).via == "ollama"
    assert choose_among(asked, worker(1), worker(2), nodes=(state,), here=32 * GIB).via == "llama.cpp"


def test_where_only_servers_have_it_the_best_one_is_asked_and_the_others_stand_by() -> None:
    cold, cold_offer = at("http://10.0.0.8:11434")
    warm, warm_offer = at("http://10.0.0.9:11434", loaded=True)
    route = choose_among(model(offers=(cold_offer, warm_offer), here=False), worker(1), nodes=(cold, warm))
    assert route.nodes == ("http://10.0.0.9:11434", "http://10.0.0.8:11434")
    assert route.backends == ("10.0.0.9:11434",)
    assert "its model is loaded" in route.why


def test_servers_that_do_not_answer_are_named() -> None:
    state, offer = at("http://10.0.0.9:11434")
    down = dataclasses.replace(state, state=State.UNREACHABLE)
    with pytest.raises(BackendError, match="no server that has big is ready: http://10.0.0.9:11434"):
        choose_among(model(offers=(offer,), here=False), nodes=(down,))


def test_without_ollama_in_reach_its_file_here_is_used() -> None:
    _, offer = at("http://10.0.0.9:11434")
    assert choose_among(model(offers=(offer,)), on=False).via == "llama.cpp"


@pytest.mark.parametrize(("via", "kind"), [("ollama", Kind.OLLAMA), ("openai", Kind.OPENAI)])
def test_an_engine_that_was_asked_for_is_taken_or_said_to_be_missing(via: str, kind: Kind) -> None:
    state, offer = at("http://10.0.0.9:11434", kind=kind)
    asked = model(40 * GIB, 70 * B, offers=(offer,))
    route = choose_among(asked, worker(1), worker(2), nodes=(state,), via=via)
    assert (route.via, route.is_forced) == (via, True)
    with pytest.raises(BackendError, match="no server that has big is ready"):
        choose_among(asked, nodes=(), via=via)


def test_llama_cpp_can_be_asked_for_and_needs_a_file() -> None:
    state, offer = at("http://10.0.0.9:11434", loaded=True)
    assert choose_among(model(offers=(offer,)), worker(1), nodes=(state,), via="llama.cpp").via == "llama.cpp"
    with pytest.raises(EngineError, match="no file of it is here") as caught:
        choose_among(model(offers=(offer,), here=False), worker(1), nodes=(state,), via="llama.cpp")
    assert caught.value.hint == "try: model pull big"


def test_an_answer_that_was_begun_is_finished_here_rather_than_not_at_all() -> None:
    route = choose_among(model(), worker(1, State.UNREACHABLE), goes_on=True)
    assert (route.plan.workers, "no worker is left" in route.why) == ((), True)


@pytest.mark.parametrize(
    ("asked", "own", "given"), [(None, 131072, 8192), (None, 512, 512), (4096, 131072, 4096), (1 << 20, 131072, 131072), (None, 0, 8192)]
)
def test_the_context_is_what_was_asked_within_what_the_model_can(asked: int | None, own: int, given: int) -> None:
    assert context_of(dataclasses.replace(model(), context=own), asked) == given
