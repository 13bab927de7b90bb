"""
What the visits say: is a candidate better than the configuration of now by more than chance, and which one is proposed. Pure.

Every ratio is turned so that above 1 is better. With k candidates each must pass 1/k of the usual threshold (Bonferroni):
else of twenty that are all alike one would seem better.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

from synaptic.bench.figures import CONFIDENCE, Difference, difference
from synaptic.bench.result import Run
from synaptic.bench.tune.schedule import LEAST_ROUNDS
from synaptic.bench.tune.values import COST, LATENCY, THROUGHPUT, WORTH, Candidate, Objective, Visit
from synaptic.results import Json

BETTER, WORSE, ALIKE, UNKNOWN, BREAKS = "better", "worse", "no difference that is more than chance", "not known", "breaks the limits"
KEEPS = 0.05  # of the requests: so many fewer than now may be within the limits


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`difference` from the anchor, above 1 is better; None: too few visits. `kept`: the part of its requests within the limits."""

    candidate: Candidate
    value: float | None
    visits: int
    kept: float | None
    difference: Difference | None
    word: str

    def as_json(self) -> Json:
        said = self.difference
        figures: dict[str, Json] = {"ratio": None, "ci95": None, "p": None}
        if said:
            figures = {"ratio": said.ratio, "ci95": [said.low, said.high], "p": said.p}
        predicted = self.candidate.prediction
        return {
            "name": self.candidate.name,
            "predicted_tokens_per_second": list(predicted.tokens_per_second) if predicted else None,
            "value": self.value,
            "visits": self.visits,
            "within_limits": self.kept,
            **figures,
            "verdict": self.word,
            "why_not": self.candidate.why_not or None,
        }


def judged(now: Candidate, candidates: Sequence[Candidate], visits: Mapping[str, Sequence[Visit]], objective: Objective) -> list[Verdict]:
    """Each candidate; those that were not measured too."""
    measured = max(1, sum(bool(visits.get(each.name)) for each in candidates))
    return [_judged(each, visits.get(each.name, ()), visits.get(now.name, ()), objective, measured) for each in candidates]


def best(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The best of those that are better; of those about as good as it the cheapest. None: nothing is to be changed."""
    better = [each for each in verdicts if each.word == BETTER and each.difference]
    top = max((each.difference.ratio for each in better if each.difference), default=0.0)
    near = [each for each in better if each.difference and each.difference.ratio * WORTH >= top]
    return min(near, key=lambda each: (each.candidate.price, -(each.difference.ratio if each.difference else 0.0)), default=None)


def longest(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The longest context that is not worse than now by more than it may cost."""
    free = [each for each in verdicts if each.word in (BETTER, ALIKE) and each.difference and each.difference.ratio >= COST]
    return min(free, key=lambda each: each.candidate.price, default=None)


def summary(visits: Sequence[Visit], objective: Objective) -> float | None:
    """Its value over all visits, as a geometric mean; requests/s or ms."""
    values = _values([each.run for each in visits], objective)
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


def kept_within(visits: Sequence[Visit], objective: Objective) -> float | None:
    """The part of the requests within the limits."""
    samples = [sample for visit in visits for sample in visit.run.requests]
    limits = objective.limits
    return statistics.fmean(sample.meets(limits.ttft, limits.tpot) for sample in samples) if samples else None


def pace(run: Run) -> float:
    """Tokens/s: what drift is told by, whatever the limits."""
    return run.means.get("throughput") or 0.0


def has_gone_to_zero(runs: Sequence[Run], objective: Objective) -> bool:
    """Not one request of a visit was within the limits: its ratio is a bound, not a measurement."""
    return objective.metric == "goodput" and any(not run.means.get("goodput") for run in runs)


def _judged(candidate: Candidate, visits: Sequence[Visit], anchors: Sequence[Visit], objective: Objective, measured: int) -> Verdict:
    ours, theirs = ([each.run for each in some] for some in (visits, anchors))
    pair = [_values(runs, objective) for runs in (theirs, ours)]
    found = difference(*(reversed(pair) if objective.aim == LATENCY else pair)) if len(ours) >= LEAST_ROUNDS else None
    kept, before = kept_within(visits, objective), kept_within(anchors, objective)
    word = BREAKS if found and _breaks(kept or 0.0, before or 0.0, objective) else _word(found, measured)
    return Verdict(candidate, summary(visits, objective), len(visits), kept, found, word)


def _breaks(kept: float, before: float, objective: Objective) -> bool:
    return kept == 0 if objective.aim == THROUGHPUT else kept < before - KEEPS


def _word(found: Difference | None, measured: int) -> str:
    if found is None:
        return UNKNOWN
    if found.p >= (1 - CONFIDENCE) / measured:
        return ALIKE
    return BETTER if found.ratio >= WORTH else WORSE if found.ratio < 1 else ALIKE


def _values(runs: Sequence[Run], objective: Objective) -> list[float]:
    """Where no request was good, half a one: so that a ratio, at least, can be told."""
    if objective.aim == LATENCY:
        return [value for run in runs if (value := run.means.get("e2e"))]
    return [run.means.get("goodput") or 0.5 / run.seconds for run in runs]
