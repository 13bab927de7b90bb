"""What would help, put through the cost model again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from synaptic.endpoint import Endpoint
from synaptic.models.model import Model
from synaptic.planning.advice import HARDWARE, MODEL, SETTING, Fix, advise, said_in_one_sentence
from synaptic.planning.expected import Expectation, expected
from synaptic.planning.machine import Machine
from synaptic.planning.placement import place
from synaptic.planning.plan import Plan
from synaptic.planning.shape import Shape
from synaptic.planning.speeds import Speed

GB, GIB = 10**9, 1 << 30
SHAPE = Shape((10**9,) * 20, 10**8, 10**8, 2048, 8192, 29568, 32000, 20 * 10**9, 20 * 10**9, "Q8_0")
NAMED = Model("m", "file", None, "llama", SHAPE.parameters, SHAPE.parameters, 20, 4096, "Q8_0", SHAPE.bytes, ("llama.cpp",))
ONE, OTHER = Endpoint("10.0.0.1", 50052), Endpoint("10.0.0.2", 50052)


def worker(endpoint: Endpoint, *, round_trip: float = 1e-4, free: int | None = 64 * GIB, bandwidth: float = 500e9) -> Machine:
    return Machine(endpoint, free, Speed(bandwidth, round_trip, 1e9, 1.0), round_trip)


def expectation(machines: Sequence[Machine], shape: Shape = SHAPE, *, slots: int = 1) -> Expectation:
    placed = place(shape, machines, context=2048, slots=slots, must_use_all=True)
    workers = tuple(share.endpoint for share in placed.shares if share.endpoint)
    found = expected(Plan(NAMED, workers, 2048, slots, placed.tensor_split), shape, machines)
    assert found
    return found


def by_change(now: Expectation) -> dict[str, Fix]:
    return {fix.change: fix for fix in advise(now)}


def test_a_plan_gives_back_the_shares_that_it_was_made_of() -> None:
    machines = [worker(ONE, free=40 * GIB), worker(OTHER, free=20 * GIB)]
    placed = place(SHAPE, machines, context=2048, must_use_all=True)
    now = expectation(machines)
    assert now.shares == placed.shares
    assert now.predicted().terms == placed.prediction.terms
    assert [stage.machine for stage in now.stages] == [str(ONE), str(OTHER)]
    assert sum(stage.read_bytes for stage in now.stages) == sum(SHAPE.layer_bytes) + SHAPE.output_bytes


def test_of_a_plan_whose_machines_or_split_are_not_known_nothing_is_expected() -> None:
    two = Plan(NAMED, (ONE, OTHER), 2048)
    assert expected(two, SHAPE, [worker(ONE)]) is None
    assert expected(two, SHAPE, [worker(ONE), worker(OTHER)]) is None  # the engine decides
    assert expected(Plan(NAMED, (), 2048), SHAPE, [Machine(None, None)])


def test_a_far_worker_is_worth_a_nearer_link_and_more_slots() -> None:
    far = [worker(ONE, round_trip=0.05), worker(OTHER, round_trip=0.05)]
    found = by_change(expectation(far))
    link = found["a link of 0.2 ms a round trip to 2 workers"]
    assert link.effort == HARDWARE
    step = expectation(far).predicted().step
    assert link.gain == pytest.approx(step / (step - 2 * (0.05 - 0.2e-3)))
    assert found["config set parallel 4"].answers == 4
    assert found["config set parallel 4"].gain > 3


def test_one_machine_that_holds_it_all_needs_no_other() -> None:
    found = by_change(expectation([worker(ONE, round_trip=0.02), worker(OTHER, round_trip=0.02)]))
    assert found[f"rpc remove {OTHER}"].effort == SETTING
    tight = by_change(expectation([worker(ONE, round_trip=0.02, free=13 * GIB), worker(OTHER, round_trip=0.02, free=13 * GIB)]))
    assert not [change for change in tight if change.startswith("rpc remove")]  # neither can hold it alone


def test_more_slots_are_no_advice_where_they_do_not_fit_or_are_there() -> None:
    assert "config set parallel 4" not in by_change(expectation([worker(ONE)], slots=4))
    shape = dataclasses.replace(SHAPE, kv_elements=500_000)
    tight = expectation([worker(ONE, free=66 * GIB), worker(OTHER, free=66 * GIB)], shape)
    assert "config set parallel 4" not in by_change(tight)


def test_fewer_bits_are_advice_for_many_bits_only() -> None:
    many = next(fix for fix in advise(expectation([worker(ONE)])) if fix.effort == MODEL)
    assert 1.2 < many.gain < 1.9  # Q8_0 to Q4_K_M, whose kernels use less of the bandwidth
    few = dataclasses.replace(SHAPE, parameters=2 * SHAPE.parameters, active_parameters=2 * SHAPE.parameters, quantization="Q4_K_M")
    assert not [fix for fix in advise(expectation([worker(ONE)], few)) if fix.effort == MODEL]


def test_the_cheapest_comes_first_and_the_best_is_named_beside_it() -> None:
    fixes = advise(expectation([worker(ONE, round_trip=0.3)]))
    assert [fix.effort for fix in fixes] == sorted((fix.effort for fix in fixes), key=(SETTING, MODEL, HARDWARE).index)
    sentence = said_in_one_sentence("network latency", fixes)
    assert sentence.startswith("network latency; cheapest fix: config set parallel 4 (+")
    assert "or a link of 0.2 ms a round trip to 1 worker (+" in sentence
    assert said_in_one_sentence("memory", ()) == "memory; no change that we know of would gain 5%"
