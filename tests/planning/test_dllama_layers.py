"""Which layers lie on which dllama worker, and how fast a token is then: pure decisions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.discovery.here import dllama_machines_now
from synaptic.dllama.header import DllamaHeader, read_header
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError
from synaptic.models.model import DLLAMA, Model
from synaptic.planning.dllama_layers import lay, layer_bytes, shares_of_runs, working_bytes
from synaptic.planning.dllama_plan import LAYERS, NONE, TENSOR, DllamaPlan, Question, plan_dllama, tensor_trouble
from synaptic.planning.dllama_speed import answer_seconds, predict_layers
from synaptic.planning.machine import HERE, Machine
from synaptic.planning.speeds import Speed, Speeds

SMALL = read_header(Path(__file__).parents[2] / "config" / "demo" / "demo-q40.m")
BIG = dataclasses.replace(SMALL, layers=32, dim=4096, hidden_dim=14336, heads=32, kv_heads=8, head_dim=128, vocabulary=128256, context=8192)
CONTEXT = 4096


def machine(number: int, gmacs: float | None = None, *, free: int | None = None, memory: str | None = None, trip: float = 0.0) -> Machine:
    speed = Speed(gmacs * 1e9 * 18 / 32, trip, measured_at=1.0) if gmacs else None
    return Machine(Endpoint("10.0.0.1", number), free, speed, trip, memory)


def planned(*machines: Machine, split: str | None = None, header: DllamaHeader = BIG, source: str = "file", **more: object) -> DllamaPlan:
    workers = [Backend(each.endpoint, Kind.DLLAMA, State.IDLE) for each in machines if each.endpoint]
    model = Model("big", source, Path("big.m"), "llama", 0, 0, header.layers, header.context, "Q40", header.file_bytes, (DLLAMA,))
    asked = Question(model, header, workers, machines, Machine(None, 1 << 40), CONTEXT)
    return plan_dllama(dataclasses.replace(asked, **more), split)


@pytest.mark.parametrize(
    ("speeds", "counts"),
    [((10, 10), (16, 16)), ((30, 10), (24, 8)), ((30, 10, 10, 10), (17, 5, 5, 5)), ((None, None), (16, 16)), ((5,), (32,))],
)
def test_the_runs_are_as_long_as_their_workers_are_fast(speeds: tuple[float | None, ...], counts: tuple[int, ...]):
    machines = [machine(number, gmacs) for number, gmacs in enumerate(speeds, 1)]
    assert lay(BIG, machines, CONTEXT, all_of_them=True).counts == counts


def test_no_one_gets_more_than_it_has_room_for():
    each = sum(layer_bytes(BIG, CONTEXT))
    machines = [machine(1, 100, free=3 * each + working_bytes(BIG, CONTEXT)), machine(2, 10)]
    assert lay(BIG, machines, CONTEXT, all_of_them=True).counts == (3, 29)


def test_workers_that_share_a_memory_share_its_room():
    each = sum(layer_bytes(BIG, CONTEXT))
    free = 10 * each + 2 * working_bytes(BIG, CONTEXT)
    here = [machine(1, 10, free=free, memory=HERE), machine(2, 10, free=free, memory=HERE)]
    assert lay(BIG, [*here, machine(3, 1)], CONTEXT, all_of_them=True).counts == (5, 5, 22)
    alone = lay(BIG, here, CONTEXT, all_of_them=True)
    assert (sum(alone.counts), alone.missing) == (10, 22 * each)


def test_one_that_would_make_every_answer_longer_is_left_out_unless_it_is_named():
    machines = [machine(1, 12), machine(2, 1), machine(3, 10)]
    laid = lay(BIG, machines, CONTEXT)
    assert (laid.counts[1], laid.idle) == (0, (machines[1].endpoint,))
    whole = lay(BIG, machines, CONTEXT, all_of_them=True)
    assert whole.counts[1] > 0
    assert answer_seconds(BIG, machines, laid.counts, CONTEXT) < answer_seconds(BIG, machines, whole.counts, CONTEXT)
    assert planned(*machines).left_out == ((machines[1].endpoint, "12.0 times slower than the fastest: every token would wait for it"),)


@pytest.mark.parametrize(
    ("speeds", "counts"),
    [((40, 40, 1), (2, 1, 1)), ((1, 40, 1), (1, 2, 1)), ((40, 1), (3, 1)), ((40, 1, 1, 1, 1), (1, 1, 1, 1, 0)), ((10, 10), (2, 2))],
)
@pytest.mark.parametrize("split", [LAYERS, None])
def test_the_model_that_shows_what_workers_are_for_has_a_layer_for_each(speeds, counts, split):
    machines = [machine(number, gmacs, trip=0.02) for number, gmacs in enumerate(speeds, 1)]
    found = planned(*machines, split=split, header=SMALL, source="shipped")
    assert found.split == LAYERS
    assert found.layers == tuple(filter(None, counts))
    assert "one for each, the rest in proportion to their speed" in found.why
    assert [each.port for each in found.plan.workers] == [number for number, count in enumerate(counts, 1) if count]


def test_with_more_workers_than_layers_the_rest_is_told_why_it_has_none():
    found = planned(*(machine(number, 10) for number in range(1, 6)), split=LAYERS, header=SMALL)
    assert [why for _, why in found.left_out] == ["there are only 4 layers"]


def test_what_was_never_measured_leaves_nobody_out():
    assert lay(BIG, [machine(1, 12), machine(2), machine(3, 2)], CONTEXT).idle == ()


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        (2, ""),
        (4, ""),
        (3, "has 32 heads and 8 KV heads, which do not divide by 3"),
        (16, "has 8 KV heads, too few for 16 nodes"),
    ],
)
def test_why_not_every_node_can_have_a_share_of_every_layer(nodes: int, why: str):
    assert (why in (said := tensor_trouble(BIG, nodes)), bool(said)) == (True, bool(why))


def test_nodes_that_divide_and_are_no_power_of_two_are_refused_all_the_same():
    header = dataclasses.replace(BIG, heads=24, kv_heads=6, dim=3072, hidden_dim=9216, vocabulary=3 * 32768)
    assert tensor_trouble(header, 3) == "the nodes must be a power of two, and here and 2 workers are 3"


def test_the_faster_split_is_chosen_and_the_other_can_be_had():
    near = [machine(number, 10, trip=0.00005) for number in (1, 2, 3)]
    assert planned(*near).split == TENSOR
    far = [machine(number, 10, trip=0.02) for number in (1, 2, 3)]
    assert planned(*far).split == LAYERS
    assert planned(*far, split=TENSOR).split == TENSOR
    assert planned(*near, split=NONE).plan.workers == ()


def test_with_a_number_of_workers_that_no_share_fits_all_get_runs():
    found = planned(*(machine(number, 10) for number in range(1, 6)))
    assert (found.split, len(found.plan.workers)) == (LAYERS, 5)
    assert "6 nodes" in found.not_tensor or "divide by 6" in found.not_tensor


def test_the_slowest_of_all_takes_no_share():
    """With room for three of four, the pace is that of the slowest that takes part."""
    found = planned(machine(1, 1), *(machine(number, 10) for number in (2, 3, 4)), split=TENSOR)
    assert [each.port for each in found.plan.workers] == [2, 3, 4]


def test_a_model_that_cannot_be_shared_at_all_says_so_to_who_asks_for_it():
    lonely = dataclasses.replace(BIG, kv_heads=1)
    with pytest.raises(EngineError, match="big has 1 KV heads, too few for 2 nodes: there are no shares of its layers"):
        planned(machine(1), split=TENSOR, header=lonely)
    assert planned(machine(1), machine(2), header=lonely).split == LAYERS


def test_the_shares_are_all_of_the_model():
    workers = [Endpoint("a", number) for number in (1, 2, 3)]
    here, *others = shares_of_runs(BIG, workers, (20, 0, 12), CONTEXT)
    assert [(each.endpoint, each.first, each.layers) for each in others] == [(workers[0], 0, 20), (workers[2], 20, 12)]
    assert here.weight_bytes + sum(each.weight_bytes for each in others) == BIG.expected_bytes - BIG.header_bytes


def test_a_prediction_names_what_takes_longest_and_is_a_range():
    machines = [machine(1, 10, trip=0.001), machine(2, 10, trip=0.5)]
    said = predict_layers(BIG, machines, (16, 16), CONTEXT)
    assert said.bottleneck.startswith("network to 10.0.0.1:2")
    assert said.tokens_per_second[0] < said.expected < said.tokens_per_second[1]
    unmeasured = predict_layers(BIG, [machine(1), machine(2)], (16, 16), CONTEXT)
    assert unmeasured.is_assumed
    assert unmeasured.tokens_per_second[1] > 10 * unmeasured.tokens_per_second[0]


def test_what_does_not_fit_says_how_much_is_missing():
    each = sum(layer_bytes(BIG, CONTEXT))
    found = planned(machine(1, 10, free=4 * each + working_bytes(BIG, CONTEXT)), split=LAYERS)
    assert (found.missing, found.why) == (28 * each, "4 layers in a row for 1 worker, and no room for the rest")


def test_nobody_there_is_an_error_and_nobody_known_is_this_machine():
    down = Backend(Endpoint("10.0.0.1", 1), Kind.DLLAMA, State.UNREACHABLE, detail="refuses")
    with pytest.raises(BackendError, match="no dllama worker is ready: 10.0.0.1:1 refuses"):
        planned(machine(1), workers=[down])
    assert planned().split == NONE
    tight = planned(here=Machine(None, 1 << 20))
    assert "1 MiB free: its file is read again and again" in tight.why


def test_memory_that_nobody_tells_is_taken_for_granted_and_said_to_be():
    unknown = planned(machine(1, 10), machine(2, 10, free=1 << 40), split=LAYERS)
    assert unknown.why.endswith("; the memory of 10.0.0.1:1 is not known, and taken as enough")
    assert "not known" not in planned(machine(1, 10, free=1 << 40), machine(2, 10, free=1 << 40), split=LAYERS).why
    many = planned(*(machine(number, 10) for number in range(1, 8)), split=TENSOR)
    assert "10.0.0.1:3 and 4 more is not known" in many.why


def test_what_a_worker_computes_in_is_taken_from_its_memory_first():
    each, room = sum(layer_bytes(BIG, CONTEXT)), working_bytes(BIG, CONTEXT)
    for missing, layers in ((0, 3), (1, 2)):
        assert lay(BIG, [machine(1, 10, free=room + 3 * each - missing)], CONTEXT).counts == (layers,)
        shared = [machine(number, 10, free=2 * room + 3 * each - missing, memory="host") for number in (1, 2)]
        assert sum(lay(BIG, shared, CONTEXT).counts) == layers


def test_only_weights_in_q40_take_more_room_at_a_worker_than_in_the_file():
    plain = dataclasses.replace(BIG, quantization="Q80")
    assert layer_bytes(plain, CONTEXT)[0] == plain.bytes_per_layer
    assert layer_bytes(BIG, CONTEXT)[0] == BIG.bytes_per_layer * 20 // 18


def test_what_a_worker_of_ours_grants_is_its_memory(tmp_path: Path):
    speeds, far, near = Speeds(tmp_path / "speeds.json"), Endpoint("10.9.9.9", 1), Endpoint("127.0.0.1", 2)
    speeds.note({far: Speed(1e9, 1e-3, memory=3 << 30), near: Speed(1e9, memory=1)})
    found = dllama_machines_now([Backend(each, Kind.DLLAMA, State.IDLE) for each in (far, near, Endpoint("10.9.9.9", 3))], speeds)
    assert (found[0].free, found[0].round_trip, found[2].free) == (3 << 30, 1e-3, None)
    assert (found[1].memory, (found[1].free or 0) > 1) == (HERE, True)
