"""How many answers at once: as many as cost a single one nothing, unless somebody said a number."""

from __future__ import annotations

import pytest

from synaptic.endpoint import Endpoint
from synaptic.errors import EngineError
from synaptic.models.model import Model
from synaptic.planning.machine import Machine
from synaptic.planning.plan import Plan
from synaptic.planning.routing import Situation, choose
from synaptic.planning.shape import Shape

GIB = 1 << 30
LAYERS, CONTEXT = 32, 8192
MODEL = Model("m", "file", None, "llama", 8 * 10**9, 8 * 10**9, LAYERS, 131072, "Q4_K_M", 4 * GIB, ("llama.cpp",))
SHAPE = Shape(
    (4 * GIB // (LAYERS + 1),) * LAYERS, GIB // 8, GIB // 8, 2048, 4096, 14336, 32000, MODEL.parameters, MODEL.parameters, "Q4_K_M"
)
SLOT = SHAPE.kv_bytes(LAYERS, CONTEXT)  # bytes of one: 1 GiB


def worker(number: int, free: int) -> Machine:
    return Machine(Endpoint("10.0.0.1", number), free, memory=str(number))


def plan(*machines: Machine, here: int = 64 * GIB, **more: object) -> Plan:
    now = Situation(bool(machines), Machine(None, here), machines=machines, shape=SHAPE, context=CONTEXT, **more)
    return choose(MODEL, now).plan


def test_one_where_nobody_serves() -> None:
    assert plan(worker(1, 64 * GIB)).slots == plan().slots == 1


def test_a_gateway_gets_as_many_as_memory_allows_up_to_the_most() -> None:
    slots = [plan(worker(1, 5 * GIB + count * SLOT), most_slots=4).slots for count in range(1, 8)]
    assert slots == sorted(slots)
    assert (slots[0], slots[-1]) == (1, 4)
    assert set(slots) == {1, 2, 3, 4}


def test_more_slots_do_not_push_layers_to_another_machine() -> None:
    """One holds the model with one slot; both could hold it with four."""
    near, far = worker(1, 6 * GIB + SLOT), Machine(Endpoint("10.0.0.1", 2), 64 * GIB, round_trip=0.2, memory="2")
    assert plan(near, far).workers == plan(near, far, most_slots=4).workers


def test_a_number_that_was_said_counts_and_must_fit() -> None:
    assert plan(worker(1, 64 * GIB), slots=16).slots == 16
    assert plan(worker(1, 64 * GIB), slots=1, most_slots=4).slots == 1
    with pytest.raises(EngineError, match="missing") as caught:
        plan(worker(1, 8 * GIB), slots=16)
    assert "--ctx" in caught.value.hint


def test_an_answer_that_goes_on_takes_fewer_rather_than_none() -> None:
    assert plan(worker(1, 8 * GIB), slots=16, goes_on=True).slots in range(1, 4)


def test_this_machine_alone_counts_its_memory_too() -> None:
    assert plan(here=64 * GIB, most_slots=4).slots == 4
    assert plan(here=4 * GIB + SHAPE.compute_bytes(CONTEXT) + 2 * SLOT, most_slots=4).slots == 2
    assert plan(here=4 * GIB + GIB // 4, most_slots=4).slots == 1
    with pytest.raises(EngineError, match="with 9 slots of 8192 tokens needs 13.2 GiB and this machine has 8 GiB free") as caught:
        plan(here=8 * GIB, slots=9)
    assert "config set parallel 3" in caught.value.hint
    assert plan(here=8 * GIB, slots=3).slots == 3


def test_a_prediction_is_of_one_answer_whatever_the_slots() -> None:
    now = Situation(True, Machine(None, None), machines=[worker(1, 64 * GIB)], shape=SHAPE, context=CONTEXT)
    alone = choose(MODEL, now).prediction
    many = choose(MODEL, Situation(**{**vars(now), "slots": 8})).prediction
    assert (many.slots, many.tokens_per_second) == (1, alone.tokens_per_second)
