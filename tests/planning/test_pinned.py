"""A split that the user names, instead of the placement's."""

from __future__ import annotations

import dataclasses

import pytest
from bench.tunes import GB, MODEL, SHAPE, A, B, machine

from synaptic.endpoint import Endpoint
from synaptic.planning.filling import Demand
from synaptic.planning.machine import Machine
from synaptic.planning.pinned import is_split_so, pinned
from synaptic.planning.plan import Plan
from synaptic.planning.routing import Situation, choose, is_as_wanted

DEMAND = Demand(SHAPE, 2048)


def now(*machines: Machine, split: tuple[tuple[Endpoint, int], ...], slots: int | None = None, most: int = 1) -> Situation:
    here = machine(None)
    return Situation(True, here, machines=machines, shape=SHAPE, context=2048, via="llama.cpp", split=split, slots=slots, most_slots=most)


def test_layers_lie_where_they_are_wanted_in_that_order() -> None:
    found = pinned(DEMAND, [machine(A), machine(B)], [(B, 30), (A, 2)], why="so")
    assert [(share.endpoint, share.layers, share.first) for share in found.shares] == [(B, 30, 0), (A, 2, 30)]
    assert found.tensor_split == (30.0, 3.0), "the output counts as one"
    assert found.need_bytes == sum(share.bytes for share in found.shares)
    assert (found.fits, found.missing_bytes) == (True, 0)
    assert found.shares[1].weight_bytes == 2 * 200_000_000 + 500_000_000


@pytest.mark.parametrize(
    ("free", "wanted"),
    [
        (100, [(A, 31)]),  # a layer is missing
        (100, [(A, 16), (Endpoint("10.0.0.9", 50052), 16)]),  # not there
        (100, [(A, 32), (B, 0)]),
        (3, [(A, 16), (B, 16)]),  # too small
        (100, []),
    ],
)
def test_what_cannot_be_is_no_placement(free: float, wanted: list[tuple[Endpoint, int]]) -> None:
    assert pinned(DEMAND, [machine(A, free), machine(B, 3)], wanted, why="so") is None


def test_the_last_one_needs_room_for_the_output_too() -> None:
    machines = [machine(A), machine(B, 3)]
    assert pinned(DEMAND, machines, [(B, 11), (A, 21)], why="so")
    assert pinned(DEMAND, machines, [(A, 31), (B, 1)], why="so")
    assert pinned(DEMAND, machines, [(A, 21), (B, 11)], why="so") is None


def test_a_prompt_goes_over_the_split_that_the_settings_name() -> None:
    route = choose(MODEL, now(machine(A), machine(B), split=((B, 30), (A, 2))))
    assert (route.plan.workers, route.plan.tensor_split) == ((B, A), (30.0, 3.0))
    assert "split as the setting splits says" in route.why


def test_where_it_cannot_be_the_placement_decides() -> None:
    route = choose(MODEL, now(machine(A), split=((B, 30), (A, 2))))
    assert route.plan.workers == (A,)
    assert "splits" not in route.why


def test_it_has_as_many_slots_as_are_wanted_or_fit() -> None:
    """A has room for two of the KV caches, beside the twentieth that stays free."""
    two = (SHAPE.bytes + 2.5 * SHAPE.kv_bytes(32, 2048) + SHAPE.compute_bytes(2048)) / 0.95 / GB
    assert choose(MODEL, now(machine(A), split=((A, 32),), slots=3)).plan.slots == 3
    assert choose(MODEL, now(machine(A, two), split=((A, 32),), most=4)).plan.slots == 2


@pytest.mark.parametrize(
    ("changed", "may_stay"),
    [
        ({}, True),
        ({"slots": 2}, True),
        ({"slots": 3}, False),
        ({"slots": 3, "goes_on": True}, True),
        ({"split": ((B, 30), (A, 2))}, True),
        ({"split": ((B, 29), (A, 3))}, False),
        ({"split": ((B, 29), (A, 3)), "goes_on": True}, True),
        ({"context": 4096}, False),
        ({"kv_type": "q8_0"}, False),
        ({"distributed": False}, False),
        ({"via": None}, True),
        ({"via": "ollama"}, False),
    ],
)
def test_what_runs_may_stay_while_nobody_wants_it_otherwise(changed: dict[str, object], may_stay: bool) -> None:
    plan = Plan(MODEL, (B, A), 2048, 2, tensor_split=(30.0, 3.0))
    assert is_as_wanted(plan, dataclasses.replace(now(split=()), **changed)) is may_stay


def test_a_plan_is_known_to_be_that_split_or_another() -> None:
    plan = Plan(MODEL, (B, A), 2048, tensor_split=(30.0, 3.0))
    assert is_split_so(plan, ((B, 30), (A, 2)))
    assert not is_split_so(plan, ((A, 2), (B, 30)))
    assert not is_split_so(plan, ((B, 29), (A, 3)))
    assert is_split_so(Plan(MODEL, (A,), 2048), ((A, 32),))
