"""
Figures of repeated measurements: mean, its 95 % confidence interval, percentiles; and whether two means differ. Pure.

The interval is Student's, over the repeats: requests of one run are not independent of each other. Percentiles are by
nearest rank over all requests, and only where there are enough of them for the rank to lie inside the sample.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

ENOUGH = {50: 20, 90: 100, 95: 200, 99: 1000}  # percentile → the least number of values that may state it
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Figure:
    """`n` values; `mean` of the repeats' means; `ci95` is (low, high), None with fewer than two repeats. None: not known, or too few."""

    n: int
    mean: float | None
    ci95: tuple[float, float] | None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclasses.dataclass(frozen=True)
class Difference:
    """`ratio` of B to A, of geometric means; `p`: how likely so large a difference is where there is none (Welch)."""

    ratio: float
    low: float
    high: float
    p: float

    @property
    def is_significant(self) -> bool:
        return self.p < 1 - CONFIDENCE


def figure(repeats: Sequence[Sequence[float]]) -> Figure:
    """`repeats`: the values of each repeat; a repeat without any says nothing."""
    means = [statistics.fmean(values) for values in repeats if values]
    everything = sorted(value for values in repeats for value in values)
    shown = {f"p{rank}": percentile(everything, rank) if len(everything) >= least else None for rank, least in ENOUGH.items()}
    return Figure(len(everything), statistics.fmean(means) if means else None, interval(means), **shown)


def interval(means: Sequence[float]) -> tuple[float, float] | None:
    if len(means) < 2:
        return None
    half = t_quantile(len(means) - 1) * statistics.stdev(means) / math.sqrt(len(means))
    return statistics.fmean(means) - half, statistics.fmean(means) + half


def percentile(ordered: Sequence[float], rank: float) -> float:
    """The smallest value that at least `rank` percent do not exceed."""
    return ordered[max(0, math.ceil(rank / 100 * len(ordered)) - 1)]


def difference(a: Sequence[float], b: Sequence[float]) -> Difference | None:
    """Of positive values, on their logarithms, so that the interval is one of the ratio. None: too few, or not positive."""
    if min(len(a), len(b)) < 2 or min(*a, *b) <= 0:
        return None
    one, other = ([math.log(value) for value in values] for values in (a, b))
    gap = statistics.fmean(other) - statistics.fmean(one)
    squares = [statistics.variance(values) / len(values) for values in (one, other)]
    error = math.sqrt(sum(squares))
    if error == 0:
        return Difference(math.exp(gap), math.exp(gap), math.exp(gap), 1.0 if gap == 0 else 0.0)
    freedom = sum(squares) ** 2 / sum(square**2 / (len(values) - 1) for square, values in zip(squares, (one, other), strict=True))
    half = t_quantile(freedom) * error
    return Difference(math.exp(gap), math.exp(gap - half), math.exp(gap + half), 2 * t_tail(abs(gap) / error, freedom))


def t_quantile(freedom: float, confidence: float = CONFIDENCE) -> float:
    """The t that |T| exceeds with probability 1 - `confidence`, by halving: the tail falls all the way."""
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if 2 * t_tail(middle, freedom) > 1 - confidence else (low, middle)
    return high


def t_tail(t: float, freedom: float) -> float:
    """P(T > t) for t ≥ 0: half the regularised incomplete beta function I_x(ν/2, 1/2), x = ν/(ν+t²). DLMF 8.17."""
    return _beta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2


def _beta(x: float, a: float, b: float) -> float:
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # beyond it the fraction of the mirrored function converges faster
        return 1 - _beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    return front / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of DLMF 8.17.22, from its far end, where it no longer matters what comes after."""
    value = 1.0
    for step in range(300, 0, -1):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        value = 1 + term / value
    return value
