"""The order of visits, and what the time allows."""

from __future__ import annotations

import pytest

from synaptic.bench.tune.schedule import BETWEEN, LEAST_ROUNDS, affordable, blocks, has_drifted, visits

NAMES = list("abcdefg")


def test_every_candidate_lies_between_two_visits_to_the_anchor_with_at_most_three_others() -> None:
    found = blocks(NAMES, 0, seed=1)
    assert sorted(name for block in found for name in block) == NAMES
    assert max(map(len, found)) == BETWEEN
    assert visits(len(NAMES), 3) == 3 * (len(NAMES) + len(found))


def test_each_round_has_another_order_and_the_same_seed_the_same() -> None:
    orders = [blocks(NAMES, number, seed=1) for number in range(5)]
    assert len({str(order) for order in orders}) == 5
    assert blocks(NAMES, 3, seed=1) == orders[3]


@pytest.mark.parametrize(
    ("seconds", "count", "rounds"),
    [
        (10_000, 5, 5),  # all of it: 5 · (5 + 2) visits of 10 s
        (350, 5, 5),
        (349, 5, 4),
        (210, 5, 3),
        (209, 4, 4),  # fewer candidates, the likely best
        (60, 1, 3),
        (59, 0, 0),
    ],
)
def test_rounds_go_first_then_candidates(seconds: float, count: int, rounds: int) -> None:
    assert affordable(seconds, 10.0, 5, 5) == (count, rounds)
    assert rounds == 0 or rounds >= LEAST_ROUNDS


@pytest.mark.parametrize(
    ("before", "after", "drifted"),
    [(100, 100, False), (100, 109, False), (109, 100, False), (100, 111, True), (111, 100, True), (0, 5, True)],
)
def test_drift_is_told_in_both_directions(before: float, after: float, drifted: bool) -> None:
    assert has_drifted(before, after, 0.10) is drifted
