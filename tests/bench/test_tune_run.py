"""Visits in turns: with drift, failures, and a budget. The engines are played; the clock is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from bench.tunes import named, objective, visit

from synaptic.bench.tune.run import MORE, TRIES, Budget, Tuning
from synaptic.bench.tune.values import Candidate, Visit
from synaptic.errors import EngineError, UsageError

pytestmark = pytest.mark.anyio
NOW = named("now")
Pace = Callable[[int], float]  # seconds of a repeat, at the so manieth visit of all


class Played:
    """Engines of known speed; a visit takes ten seconds of the clock. None: it does not load."""

    def __init__(self, **paces: Pace | None) -> None:
        self.seen: list[str] = []
        self.now = 0.0
        self._paces = paces

    async def visit(self, candidate: Candidate, seed: int) -> Visit:
        pace = self._paces[candidate.name]
        if pace is None:
            raise EngineError("out of memory")
        self.seen.append(candidate.name)
        self.now += 10
        return visit(pace(len(self.seen)), took=10.0)


def always(seconds: float) -> Pace:
    return lambda number: seconds * (1 + number / 1000)


def tuning(played: Played, *names: str, seconds: float = 10_000, rounds: int = 4) -> tuple[Tuning, list[tuple[str, int, int]]]:
    told: list[tuple[str, int, int]] = []
    found = Tuning(
        NOW,
        [named(name) for name in names],
        objective(),
        played,
        Budget(seconds, rounds, 0.2),
        seed=1,
        tell=lambda *news: told.append(news),
        clock=lambda: played.now,
    )
    return found, told


async def test_each_round_returns_to_the_anchor_and_progress_is_told() -> None:
    played = Played(now=always(1), a=always(0.9), b=always(0.9))
    found, told = tuning(played, "a", "b")
    await found.run()
    assert {name: len(visits) for name, visits in found.visits.items()} == {"now": 5, "a": 4, "b": 4}
    assert [place for place, name in enumerate(played.seen) if name == "now"] == [0, 3, 6, 9, 12]
    assert told[-1][1:] == (13, 13)
    assert [each.run.repeat for each in found.visits["a"]] == [0, 1, 2, 3]


async def test_what_lies_between_anchors_that_differ_does_not_count_and_is_tried_again() -> None:
    """After the second visit everything takes twice as long; it stays so."""
    played = Played(now=lambda number: 1.0 if number < 3 else 2.0, a=lambda number: 1.0 if number < 3 else 2.0)
    found, _ = tuning(played, "a", rounds=3)
    await found.run()
    assert found.discarded == 1
    assert [round(each.run.seconds) for each in found.visits["a"]] == [2, 2, 2]


async def test_what_never_comes_to_rest_is_given_up_and_nothing_of_it_counts() -> None:
    played = Played(now=lambda number: 1.5**number, a=always(1))
    found, _ = tuning(played, "a", rounds=3)
    await found.run()
    assert set(found.visits) == {"now"}
    assert found.discarded == MORE * 3 * TRIES


async def test_a_round_that_was_discarded_is_made_up_for() -> None:
    """Its first three tries fall into a restless time."""
    played = Played(now=lambda number: 1.5 ** min(number, 7), a=lambda number: 1.5 ** min(number, 7))
    found, _ = tuning(played, "a", rounds=3)
    await found.run()
    assert found.discarded == TRIES
    assert len(found.visits["a"]) == 3


async def test_a_candidate_that_does_not_load_is_left_out_with_its_reason_and_the_others_go_on() -> None:
    played = Played(now=always(1), a=None, b=always(1))
    found, _ = tuning(played, "a", "b", rounds=3)
    await found.run()
    assert found.left_out == {"a": "it failed: out of memory"}
    assert len(found.visits["b"]) == 3


async def test_an_anchor_that_does_not_load_ends_it() -> None:
    found, _ = tuning(Played(now=None, a=always(1)), "a")
    with pytest.raises(EngineError, match="out of memory"):
        await found.run()


async def test_what_is_surely_worse_is_not_measured_to_the_end() -> None:
    played = Played(now=always(1), slow=always(5), b=always(1))
    found, _ = tuning(played, "slow", "b", rounds=6)
    await found.run()
    assert {name: len(visits) for name, visits in found.visits.items()} == {"now": 7, "slow": 3, "b": 6}


async def test_with_little_time_the_likely_best_is_measured_and_the_rest_is_left_out() -> None:
    """Ten seconds are gone; of the fifty that are left not even one candidate gets three rounds, of seventy one does."""
    found, _ = tuning(Played(now=always(1), a=always(1)), "a", seconds=60)
    with pytest.raises(UsageError, match="10 s with its loading") as caught:
        await found.run()
    assert caught.value.hint == "try: --budget 2m, or fewer --requests"
    found, _ = tuning(Played(now=always(1), a=always(1), b=always(1)), "a", "b", seconds=80)
    await found.run()
    assert len(found.visits["a"]) == 3
    assert found.left_out == {"b": "the budget has no time for it"}


async def test_it_ends_with_the_budget_though_visits_take_longer_than_they_did() -> None:
    played = Played(now=always(1), a=always(1))
    slow = played.visit

    async def slower(candidate: Candidate, seed: int) -> Visit:
        played.now += 10 * len(played.seen)
        return await slow(candidate, seed)

    played.visit = slower  # type: ignore[method-assign]
    found, _ = tuning(played, "a", seconds=200, rounds=5)
    await found.run()
    assert found.seconds <= 200
    assert 0 < len(found.visits.get("a", [])) < 5


async def test_candidates_that_need_no_measuring_are_not_visited() -> None:
    played = Played(now=always(1), a=always(1))
    found = Tuning(
        NOW,
        [named("a"), dataclasses.replace(named("b"), why_not="it does not fit")],
        objective(),
        played,
        Budget(1000, 3, 0.2),
        seed=1,
        tell=lambda *news: None,
        clock=lambda: played.now,
    )
    await found.run()
    assert "b" not in played.seen
