"""What would make a distributed-llama model faster: each change is planned again."""

from __future__ import annotations

from pathlib import Path

import pytest
from planning.test_dllama_layers import BIG, CONTEXT, machine

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.models.model import DLLAMA, Model
from synaptic.planning.advice import HARDWARE, SETTING, Fix
from synaptic.planning.dllama_advice import advise_dllama
from synaptic.planning.dllama_plan import LAYERS, TENSOR, Question, plan_dllama
from synaptic.planning.machine import Machine

MODEL = Model("big", "file", Path("big.m"), "llama", 0, 0, BIG.layers, BIG.context, "Q40", BIG.file_bytes, (DLLAMA,))


def asked(*machines: Machine) -> Question:
    workers = [Backend(each.endpoint, Kind.DLLAMA, State.IN_USE) for each in machines if each.endpoint]
    return Question(MODEL, BIG, workers, machines, Machine(None, 1 << 40), CONTEXT)


def by_change(fixes: tuple[Fix, ...]) -> dict[str, Fix]:
    return {fix.change: fix for fix in fixes}


def test_over_a_slow_link_shares_cost_64_exchanges_and_runs_of_layers_one() -> None:
    question = asked(machine(1, 10, trip=0.02))
    fixes = advise_dllama(question, TENSOR)
    assert fixes[0].change == "config set dllama_split layers"  # a setting is the cheapest
    shares, runs = (plan_dllama(question, split).prediction.step for split in (TENSOR, LAYERS))
    assert fixes[0].gain == pytest.approx(shares / runs)
    near = by_change(fixes)["a link of 0.2 ms a round trip to 1 worker"]
    assert (near.effort, near.gain > fixes[0].gain) == (HARDWARE, True)
    assert [fix.effort for fix in fixes] == sorted((fix.effort for fix in fixes), key=[SETTING, HARDWARE].index)


def test_a_worker_that_is_slower_than_leaving_it_out_is_named() -> None:
    slow = machine(2, 2, trip=0.05)
    found = by_change(advise_dllama(asked(machine(1, 40), slow), LAYERS))
    assert found[f"dllama remove {slow.endpoint}"].gain > 1.05
    assert f"dllama remove {machine(1).endpoint}" not in found


def test_twice_as_fast_gains_less_than_twice() -> None:
    found = by_change(advise_dllama(asked(machine(1, 10)), LAYERS))
    assert 1.5 < found["10.0.0.1:1 twice as fast"].gain < 2


def test_where_a_speed_is_only_assumed_nothing_is_advised() -> None:
    assert advise_dllama(asked(machine(1), machine(2, 10)), LAYERS) == ()
