"""What tuning tries, and what it need not try."""

from __future__ import annotations

import dataclasses

import pytest
from bench.tunes import A, B, machine, objective, scene

from synaptic.bench.tune.candidates import anchor, contexts, parallel, splits, with_latency, worth_measuring
from synaptic.bench.tune.values import LATENCY
from synaptic.endpoint import Endpoint
from synaptic.settings.splits import Split


@pytest.mark.parametrize(("users", "slots"), [(1, []), (2, [2]), (3, [2, 3]), (4, [2, 4]), (6, [2, 4, 6]), (8, [2, 4, 8])])
def test_slots_double_up_to_as_many_as_are_ever_at_work(users: int, slots: list[int]) -> None:
    found = parallel(scene([machine(A)], aim=objective(users=users)))
    assert [each.plan.slots for each in found] == slots
    assert [dict(each.settings) for each in found] == [{"parallel": count} for count in slots]


def test_the_user_may_name_what_is_tried_and_the_configuration_of_now_is_never_a_candidate() -> None:
    found = parallel(scene([machine(A)]), (1, 3, 3, 6))
    assert [each.name for each in found] == ["parallel 3", "parallel 6"]


def test_more_slots_than_users_are_predicted_to_help_no_more() -> None:
    three, six = parallel(scene([machine(A)], aim=objective(users=3)), (3, 6))
    assert three.prediction.slots == six.prediction.slots == 3


def test_what_does_not_fit_where_the_model_lies_goes_to_other_machines_or_says_what_is_missing() -> None:
    """7 GB of weights; the KV cache of a slot of 32768 tokens is 4.3 GB."""
    tight, wide = machine(A, 13), machine(B, 100)
    (alone,) = parallel(scene([tight], context=32768), (8,))
    assert alone.why_not.startswith("it does not fit: ")
    assert "missing" in alone.why_not
    (moved,) = parallel(scene([tight, wide], context=32768), (8,))
    assert not moved.why_not
    assert B in moved.plan.workers


def test_contexts_double_from_now_up_to_what_the_model_was_trained_for_and_the_longest_is_preferred() -> None:
    found = contexts(scene([machine(A)], context=3000))
    assert [each.plan.context for each in found] == [4096, 8192, 16384, 32768]
    assert min(found, key=lambda each: each.price).plan.context == 32768
    assert [each.plan.context for each in contexts(scene([machine(A)], context=3000), (5000, 99_999))] == [5000, 32768]


def test_the_longest_context_that_fits_is_tried_though_it_is_no_power_of_two() -> None:
    """The weights are 6.9 GB, a token takes 131 kB of KV cache: of 9.5 GB, a twentieth of which stays free, 14 thousand fit."""
    found = contexts(scene([machine(A, 9.5)], context=3000))
    fitting = [each.plan.context for each in found if not each.why_not]
    assert fitting[:2] == [4096, 8192]
    assert 12_000 < fitting[2] < 16_384
    assert len(fitting) == 3
    assert all("missing" in each.why_not for each in found if each.plan.context >= 16_384)


def test_splits_are_every_choice_of_machines_and_both_ways_round() -> None:
    found = splits(scene([machine(A), machine(B), machine(None)], workers=(A, B)))
    names = {each.name for each in found}
    both = {f"layers {A} 17 + {B} 15", f"layers {A} 31 + {B} 1", f"layers {B} 31 + {A} 1"}
    assert names == {f"layers {A} 32", f"layers {B} 32", *both, "this machine alone"}
    by_name = {each.name: dict(each.settings) for each in found}
    assert by_name[f"layers {B} 31 + {A} 1"] == {"splits": (Split("big", ((B, 31), (A, 1))),)}
    assert by_name["this machine alone"] == {"distributed_inference_enabled": False}


def test_the_splits_of_other_models_stay() -> None:
    other = Split("other", ((A, 3),))
    there = dataclasses.replace(scene([machine(A), machine(B)], workers=(A, B)), splits=(other, Split("big", ((A, 32),))))
    kept = dict(splits(there)[0].settings)["splits"]
    assert kept[0] == other
    assert len(kept) == 2


@pytest.mark.parametrize(("round_trip", "likely"), [(0.0, f"layers {B} 32"), (0.010, f"layers {A} 32")])
def test_what_is_likely_best_depends_on_how_far_a_machine_is_away(round_trip: float, likely: str) -> None:
    """B's memory is faster by 5 ms a token: a way of 10 ms is not worth that."""
    there = scene([machine(A, bandwidth=900), machine(B, bandwidth=2500, round_trip=round_trip)], workers=(A, B), aim=objective(LATENCY))
    first, *_ = worth_measuring(splits(there), anchor(there), there.objective)
    assert first.name == likely


def test_what_surely_breaks_a_limit_is_not_measured() -> None:
    """7 GB at 100 GB/s are 70 ms a token at least."""
    strict = scene([machine(A)], aim=objective(tpot=30.0))
    assert all("the limit is 30 ms" in each.why_not for each in worth_measuring(parallel(strict), anchor(strict), strict.objective))
    loose = scene([machine(A)], aim=objective(tpot=300.0))
    assert not any(each.why_not for each in worth_measuring(parallel(loose), anchor(loose), loose.objective))


def test_what_is_surely_slower_is_not_measured_and_what_might_not_be_is() -> None:
    far = scene([machine(A), machine(B, bandwidth=5)], workers=(A,))
    by_name = {each.name: each.why_not for each in worth_measuring(splits(far), anchor(far), far.objective)}
    assert "by the cost model" in by_name[f"layers {B} 32"]
    near = scene([machine(A), machine(B, bandwidth=95)], workers=(A,))
    assert not any(each.why_not for each in worth_measuring(splits(near), anchor(near), near.objective))


def test_an_address_of_ours_that_answers_late_leads_elsewhere() -> None:
    here, tunnel = Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 2)
    found = with_latency([machine(here), machine(tunnel), machine(A, round_trip=0.001)], [0.0004, 0.010, 0.030])
    assert [each.round_trip for each in found] == [0.0, 0.010, 0.001], "what was measured stays"
