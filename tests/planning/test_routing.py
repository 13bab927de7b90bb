"""Where a prompt goes is a pure decision: values in, a route and its reason out."""

from __future__ import annotations

from pathlib import Path

import pytest

from synaptic.cluster.backend import Backend, Device, Kind, State
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError
from synaptic.models.model import Model
from synaptic.planning.routing import choose

GIB = 1024**3


def model(size: int = 4 * GIB, layers: int = 32, context: int = 131072) -> Model:
    return Model(
        "big", "file", Path("/models/big.gguf"), "llama", 8_000_000_000, 8_000_000_000, layers, context, "Q4_K_M", size, ("llama.cpp",)
    )


def worker(number: int, state: State = State.IDLE, free: int = 24 * GIB, detail: str = "") -> Backend:
    return Backend(Endpoint("10.0.0.1", number), Kind.RPC, state, "7.0.0", (Device("RPC0", free, free),), 1.0, "configured", detail)


def test_off_means_this_machine_and_asks_no_worker() -> None:
    route = choose(model(), distributed=False, workers=[worker(1)])
    assert route.plan.workers == ()
    assert "distributed is off" in route.why


def test_on_means_every_ready_worker() -> None:
    route = choose(model(), distributed=True, workers=[worker(1), worker(2, State.IN_USE)])
    assert route.via == "llama.cpp"
    assert [each.port for each in route.plan.workers] == [1, 2]


def test_a_lost_worker_is_left_out_and_named() -> None:
    route = choose(model(), distributed=True, workers=[worker(1), worker(2, State.UNREACHABLE)])
    assert [each.port for each in route.plan.workers] == [1]
    assert "without 10.0.0.1:2 (unreachable)" in route.why


@pytest.mark.parametrize("state", [State.BUSY, State.INCOMPATIBLE, State.UNREACHABLE, State.UNVERIFIED])
def test_nothing_ready_says_why_and_what_to_do(state: State) -> None:
    with pytest.raises(BackendError, match="no worker is ready; 10.0.0.1:1 it refused") as caught:
        choose(model(), distributed=True, workers=[worker(1, state, detail="it refused")])
    assert "rpc check" in str(caught.value.hint)


def test_no_worker_at_all_says_how_to_get_one() -> None:
    with pytest.raises(BackendError, match="no worker is ready") as caught:
        choose(model(), distributed=True, workers=[])
    assert "worker start" in str(caught.value.hint)


def test_more_workers_than_layers_leaves_some_out() -> None:
    route = choose(model(layers=2), distributed=True, workers=[worker(number) for number in (1, 2, 3)])
    assert len(route.plan.workers) == 2
    assert "1 worker left out" in route.why


def test_a_model_that_is_too_large_says_how_much_is_missing() -> None:
    with pytest.raises(EngineError, match=r"big needs 40 GiB and 2 workers offer 16 GiB: 24 GiB missing"):
        choose(model(size=40 * GIB), distributed=True, workers=[worker(1, free=8 * GIB), worker(2, free=8 * GIB)])


@pytest.mark.parametrize(
    ("asked", "own", "given"), [(None, 131072, 8192), (None, 512, 512), (4096, 131072, 4096), (1 << 20, 131072, 131072), (None, 0, 8192)]
)
def test_the_context_is_what_was_asked_within_what_the_model_can(asked: int | None, own: int, given: int) -> None:
    assert choose(model(context=own), distributed=False, workers=[], context=asked).plan.context == given
