"""Over how many dllama nodes a model is cut, and who is left out: a pure decision."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.dllama.header import DllamaHeader, read_header
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError
from synaptic.models.model import DLLAMA, Model
from synaptic.planning.dllama import shares_of, spread_dllama

DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo-q40.m"
HEADER = read_header(DEMO)
MODEL = Model("demo", "file", DEMO, "llama", 0, 0, 4, 512, "Q40", HEADER.file_bytes, (DLLAMA,))


def worker(number: int, state: State = State.IDLE, host: str = "10.0.0.1", detail: str = "") -> Backend:
    return Backend(Endpoint(host, number), Kind.DLLAMA, state, detail=detail)


def spread(*workers: Backend, header: DllamaHeader = HEADER, **more: object):
    return spread_dllama(MODEL, header, workers, context=512, **more)


@pytest.mark.parametrize(("there", "used"), [(0, 0), (1, 1), (2, 1), (3, 3), (4, 3), (6, 3), (7, 3), (20, 3)])
def test_the_nodes_are_a_power_of_two_and_not_more_than_kv_heads(there, used):
    found = spread(*(worker(number) for number in range(1, there + 1)))
    assert [each.port for each in found.plan.workers] == list(range(1, used + 1))
    assert [endpoint.port for endpoint, _ in found.left_out] == list(range(used + 1, there + 1))
    assert HEADER.kv_heads == 4


def test_with_more_heads_more_take_part():
    header = dataclasses.replace(HEADER, kv_heads=8, heads=8)
    assert len(spread(*(worker(number) for number in range(1, 20)), header=header).plan.workers) == 3  # 384 wide: 12 blocks into 8
    header = dataclasses.replace(header, hidden_dim=512)
    assert len(spread(*(worker(number) for number in range(1, 20)), header=header).plan.workers) == 7


def test_the_reason_names_who_is_left_out():
    found = spread(worker(1), worker(2, State.UNREACHABLE, detail="refuses: busy with a root, or down"), worker(3))
    assert found.why == (
        "every layer is cut into 2: here and 1 worker; without 10.0.0.1:2 (refuses: busy with a root, or down), "
        "10.0.0.1:3 (not needed: the nodes are a power of two, and 2 take part)"
    )
    four = spread(*(worker(number) for number in range(1, 5)))
    assert four.why.endswith("without 10.0.0.1:4 (this model can be cut into 4 at most (4 KV heads))")
    assert spread().why == "this machine alone"


def test_what_is_proved_goes_before_what_is_only_open():
    found = spread(worker(1, State.UNVERIFIED), worker(2, State.IDLE))
    assert [each.port for each in found.plan.workers] == [2]


def test_loopback_does_not_mix_with_other_addresses():
    """A worker calls the others by the names that the root has for them."""
    found = spread(worker(1, host="127.0.0.1"), worker(2), worker(3), worker(4))
    assert [each.port for each in found.plan.workers] == [2, 3, 4]
    assert found.left_out[0][0] == Endpoint("127.0.0.1", 1)
    assert [each.port for each in spread(*(worker(number, host="127.0.0.1") for number in (1, 2, 3)), worker(4)).plan.workers] == [1, 2, 3]


def test_no_usable_worker_is_an_error_with_the_reasons():
    with pytest.raises(BackendError, match=r"no dllama worker is ready: 10\.0\.0\.1:1 down; \[::1\]:2 dllama speaks IPv4 only"):
        spread(worker(1, State.UNREACHABLE, detail="down"), worker(2, host="::1"))


def test_weights_without_kernels_are_refused():
    with pytest.raises(EngineError, match="demo has Q80 weights: dllama runs Q40 and F32 only"):
        spread(header=dataclasses.replace(HEADER, quantization="Q80"))


def test_the_root_needs_its_part_here():
    need = spread(worker(1)).shares[0].bytes
    assert spread(worker(1), free=need).plan.workers
    with pytest.raises(EngineError, match=r"the root of demo needs .* here, with 2 nodes, and has .*: 1 B missing"):
        spread(worker(1), free=need - 1)


def test_the_shares_add_up_and_a_context_is_not_longer_than_the_model_can():
    for workers in ((), (Endpoint("a", 1),), tuple(Endpoint("a", number) for number in (1, 2, 3))):
        shares = shares_of(HEADER, workers, 10**6)
        assert sum(share.weight_bytes for share in shares) == pytest.approx(HEADER.file_bytes - HEADER.header_bytes, abs=4)
        assert sum(share.kv_bytes for share in shares) == 2 * 4 * 512 * 4 * 128
        assert [share.endpoint for share in shares] == [None, *workers]
        assert {share.layers for share in shares} == {4}
    assert spread_dllama(MODEL, HEADER, (), context=10**6).plan.context == 512
