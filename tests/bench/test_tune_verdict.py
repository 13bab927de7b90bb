"""What visits say of a candidate, and which one is proposed."""

from __future__ import annotations

import pytest
from bench.tunes import named, objective, visit

from synaptic.bench.figures import difference
from synaptic.bench.tune.values import LATENCY, THROUGHPUT, Objective, Visit
from synaptic.bench.tune.verdict import ALIKE, BETTER, BREAKS, UNKNOWN, WORSE, Verdict, best, judged, longest

NOW = named("now")
STEADY = [visit(seconds) for seconds in (1.00, 1.01, 0.99, 1.00)]


def of(seconds: list[float], *, aim: Objective | None = None, others: int = 0) -> Verdict:
    """The verdict on a candidate whose visits took so long; `others` are as good as now."""
    rest = [named(f"other {number}") for number in range(others)]
    visits = {"now": STEADY, "it": [visit(each, gap=10 * each, ttft=100 * each) for each in seconds]}
    visits |= {each.name: STEADY[:3] for each in rest}
    return judged(NOW, [named("it"), *rest], visits, aim or objective())[0]


@pytest.mark.parametrize("aim", [THROUGHPUT, LATENCY])
@pytest.mark.parametrize(
    ("seconds", "word"),
    [
        ([0.50, 0.51, 0.49], BETTER),
        ([2.00, 2.04, 1.96], WORSE),
        ([0.50, 2.00, 1.00], ALIKE),  # as much above as below
        ([0.98, 0.98, 0.981], ALIKE),  # surely better, and not worth a change
        ([0.50, 0.51], UNKNOWN),
        ([], UNKNOWN),
    ],
)
def test_a_candidate_is_better_only_by_more_than_chance_and_by_enough(aim: str, seconds: list[float], word: str) -> None:
    assert of(seconds, aim=objective(aim)).word == word


def test_the_ratio_is_one_of_how_good_it_is_whatever_is_measured() -> None:
    for aim in (THROUGHPUT, LATENCY):
        assert of([0.5, 0.5, 0.501], aim=objective(aim)).difference.ratio == pytest.approx(2, rel=0.02)


def test_of_many_candidates_each_must_pass_a_stricter_test() -> None:
    close = [0.87, 0.93, 0.90]
    found = of(close).difference
    assert 0.05 / 20 < found.p < 0.05
    assert of(close).word == BETTER
    assert of(close, others=19).word == ALIKE


def test_what_was_never_good_is_no_proposal_however_fast_it_was() -> None:
    strict = objective(THROUGHPUT, ttft=50.0)
    visits = {"now": STEADY, "it": [visit(each) for each in (0.5, 0.5, 0.51)]}
    for each in visits["it"]:
        each.run.means["goodput"] = 0.0
    (found,) = judged(NOW, [named("it")], visits, strict)
    assert found.word == BREAKS
    assert best([found]) is None


def test_shorter_answers_that_keep_the_limits_less_often_are_no_proposal() -> None:
    """Faster tokens, and a first one that comes too late."""
    late = [Visit(visit(0.2, ttft=30.0, gap=5.0).run, 1.0) for _ in range(3)]
    on_time = [visit(seconds, ttft=20.0, gap=30.0) for seconds in (1.0, 1.01, 0.99)]
    (found,) = judged(NOW, [named("it")], {"now": on_time, "it": late}, objective(LATENCY, ttft=25.0))
    assert (found.kept, found.word) == (0.0, BREAKS)


def verdict(name: str, ratio: float, price: float, word: str = BETTER) -> Verdict:
    a = [1.0, 1.001, 0.999]
    return Verdict(named(name, price), 1.0, 3, 1.0, difference(a, [each * ratio for each in a]), word)


def test_the_best_is_proposed_and_of_those_about_as_good_the_cheapest() -> None:
    assert best([verdict("2", 1.5, 2), verdict("4", 2.0, 4), verdict("8", 2.05, 8)]).candidate.name == "4"
    assert best([verdict("2", 1.5, 2, ALIKE), verdict("4", 0.5, 4, WORSE)]) is None
    assert best([]) is None


def test_the_longest_context_is_proposed_that_costs_next_to_nothing() -> None:
    found = longest([verdict("8k", 0.99, -8192, ALIKE), verdict("16k", 0.97, -16384, ALIKE), verdict("32k", 0.90, -32768, ALIKE)])
    assert found.candidate.name == "16k"
    assert longest([verdict("8k", 0.5, -8192, WORSE), verdict("16k", 1.0, -16384, UNKNOWN)]) is None
