"""
What a measurement says of a machine's memory: at which bandwidth the cost model would have said what came. Pure.

    bandwidth = bytes read for a token / (its time - all that is not memory) / the part that llama.cpp's kernels get of it
"""

from __future__ import annotations

import dataclasses
from typing import Any

from synaptic.bench.explained import Explained, explained
from synaptic.bench.result import Result
from synaptic.errors import UsageError
from synaptic.planning.term import COMPUTE

LEAST = 0.2  # of a token's time must be memory's; else the rest's error is all that would be seen


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """`bandwidth`: bytes/s, as a specification would say it. `source`: in words, for a profile."""

    bandwidth: float
    machines: tuple[str, ...]
    source: str


def calibrated(result: Result) -> Calibrated:
    """Of the load with the fewest requests at once. Raises UsageError where it tells nothing of memory."""
    known = [each for each in explained(result) if each.step and not each.point.why_not]
    if not known:
        raise UsageError(f"{result.id} has nothing that was predicted and measured", hint="bench run over workers, then: explain ID")
    found = min(known, key=lambda each: each.said.slots)
    rest = sum(term.seconds for term in found.said.terms if not term.is_work)
    assert found.step
    seconds = found.step - rest
    if any(term.what == COMPUTE for term in found.said.terms) or seconds < LEAST * found.step:
        raise UsageError(
            f"{result.id} tells nothing of memory: {found.said.bottleneck}", hint="measure a larger model, one answer at a time"
        )
    read, efficiency = _read(result)
    return Calibrated(read / seconds / efficiency, found.said.machines, _source(result, found))


def _read(result: Result) -> tuple[float, float]:
    """Bytes for one token, of all stages; and what part of a memory's bandwidth such weights get."""
    kept: Any = result.prediction
    try:
        return sum(float(stage["read_bytes"]) for stage in kept["stages"]), float(kept["efficiency"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{result.id} does not say what was read", hint="measure again: bench run") from error


def _source(result: Result, found: Explained) -> str:
    rate = found.measured.tokens_per_second or 0.0
    return f"bench {result.id}: {rate:.3g} tok/s of {result.model.name}, by what it read for each token"
