"""
Whether requests come faster than they are answered: then a queue grows without end, and every figure only tells how long
it was watched. Pure.

    it falls behind   the unanswered requests and the time to the first token both grow with time, and not by chance
                      or more than so many of the last requests failed
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from synaptic.bench.figures import t_quantile

LEAST = 20  # answers that are looked at before anything is said
WAITING = 8  # unanswered requests; fewer are no queue
MOST_WAITING = 512  # more are not waited for, whatever comes
FAILED, LATEST = 0.5, 20  # of the latest requests


@dataclasses.dataclass(frozen=True)
class Answered:
    """`sent`: seconds; `waiting`: unanswered requests at that moment; `ttft` in ms, None: it failed."""

    sent: float
    waiting: int
    ttft: float | None


def why_behind(answered: Sequence[Answered], waiting: int, *, is_steady: bool = True) -> str:
    """
    In words; empty: it keeps up. `answered` in any order; `waiting`: unanswered requests now. `is_steady`: they come at one
    rate; where they come in bursts a queue that grows may as well shrink again.
    """
    latest = sorted(answered, key=lambda each: each.sent)
    if waiting >= MOST_WAITING:
        return f"{waiting} requests wait"
    if len(latest) < LEAST:
        return ""
    failed = sum(each.ttft is None for each in latest[-LATEST:])
    if failed > FAILED * LATEST:
        return f"{failed} of the last {LATEST} requests failed"
    if not is_steady:
        return ""
    half = [each for each in latest[len(latest) // 2 :] if each.ttft is not None]
    if waiting < WAITING or len(half) < LEAST // 2:
        return ""
    moments = [each.sent for each in half]
    queue, first = [float(each.waiting) for each in half], [each.ttft or 0.0 for each in half]
    if not (rises(moments, queue) and rises(moments, first)):
        return ""
    return f"{waiting} requests wait, and the time to the first token rose from {min(first):.0f} to {max(first):.0f} ms"


def rises(x: Sequence[float], y: Sequence[float]) -> bool:
    """Whether the slope of the least squares' line is above zero with a confidence of 95 %."""
    if len(x) < 3 or len(set(x)) < 2:
        return False
    slope, intercept = statistics.linear_regression(x, y)
    rest = sum((value - slope * moment - intercept) ** 2 for moment, value in zip(x, y, strict=True)) / (len(x) - 2)
    spread = sum((moment - statistics.fmean(x)) ** 2 for moment in x)
    return slope > t_quantile(len(x) - 2) * math.sqrt(rest / spread)
