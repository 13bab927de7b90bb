"""Statistics against values from printed tables and worked examples."""

from __future__ import annotations

import math

import pytest

from synaptic.bench.figures import difference, figure, percentile, t_quantile, t_tail


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980), (1e7, 1.960)]
)
def test_t_is_that_of_the_tables(freedom: float, quantile: float) -> None:
    assert t_quantile(freedom) == pytest.approx(quantile, abs=6e-4)


def test_the_tail_of_one_degree_of_freedom_is_known_in_closed_form() -> None:
    assert t_tail(2.0, 1) == pytest.approx(0.5 - math.atan(2.0) / math.pi, rel=1e-9)
    assert t_tail(0.0, 7) == 0.5


def test_the_interval_is_over_the_repeats_not_over_their_requests() -> None:
    said = figure([[9.0, 11.0], [11.0, 13.0], [13.0, 15.0]])
    assert (said.n, said.mean) == (6, 12.0)
    assert said.ci95 == pytest.approx((12 - 4.3027 * 2 / math.sqrt(3), 12 + 4.3027 * 2 / math.sqrt(3)), rel=1e-4)


def test_one_repeat_has_no_interval_and_an_empty_one_no_say() -> None:
    assert figure([[1.0, 2.0]]).ci95 is None
    assert figure([[1.0], [], [3.0]]).mean == 2.0
    assert figure([[], []]).mean is None


@pytest.mark.parametrize(("n", "known"), [(19, []), (20, ["p50"]), (100, ["p50", "p90"]), (200, ["p50", "p90", "p95"]), (1000, [])])
def test_a_percentile_is_stated_only_where_there_are_enough_values(n: int, known: list[str]) -> None:
    said = figure([[float(value) for value in range(1, n + 1)]])
    stated = [name for name in ("p50", "p90", "p95", "p99") if getattr(said, name) is not None]
    assert stated == (known if n < 1000 else ["p50", "p90", "p95", "p99"])


def test_nearest_rank() -> None:
    values = [15.0, 20.0, 35.0, 40.0, 50.0]
    assert [percentile(values, rank) for rank in (5, 30, 40, 50, 100)] == [15, 20, 20, 35, 50]


def test_welch_on_an_example_that_can_be_done_by_hand() -> None:
    """Logarithms 0 and 2 against 3 and 5: t = 3/√2 with two degrees of freedom, whose tail has a closed form."""
    found = difference([math.exp(0), math.exp(2)], [math.exp(3), math.exp(5)])
    assert found
    assert found.p == pytest.approx(1 - math.sqrt(4.5 / 6.5))
    assert not found.is_significant
    assert [math.log(each) for each in (found.low, found.ratio, found.high)] == pytest.approx(
        [3 - 4.3027 * 2**0.5, 3, 3 + 4.3027 * 2**0.5], rel=1e-4
    )


def test_a_clear_difference_is_significant() -> None:
    found = difference([10.0, 10.1, 9.9], [12.0, 12.1, 11.9])
    assert found
    assert found.is_significant
    assert 1.1 < found.low < 1.2 < found.high < 1.3


def test_what_is_the_same_twice_does_not_differ() -> None:
    same = difference([10.0, 11.0, 12.0], [10.0, 11.0, 12.0])
    assert same
    assert (same.ratio, same.p) == (pytest.approx(1.0), pytest.approx(1.0))
    assert same.low < 1 < same.high
    assert difference([1.0], [1.0, 2.0]) is None
    assert difference([0.0, 0.0], [1.0, 2.0]) is None
