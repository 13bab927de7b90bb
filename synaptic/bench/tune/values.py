"""
Tuning: which configurations are tried, by what they are judged, and what was measured of them. Values only.

    predict     the cost model says of each candidate how fast it would be         candidates.py
    prune       what does not fit, or surely breaks the limits, is not measured
    measure     in turns, between visits to the configuration of now (the anchor)  schedule.py, run.py, trial.py
    judge       against the anchor: Welch on the visits' values                    verdict.py
    keep        a measurement for each configuration, and a decision               kept.py
    propose     the best that is better by more than chance, or nothing            commands/tune.py
"""

from __future__ import annotations

import dataclasses

from synaptic.bench.load.measurement import Load
from synaptic.bench.result import Limits, Run
from synaptic.planning.costmodel import Prediction
from synaptic.planning.plan import Plan

PARALLEL, CONTEXT, SPLIT = "parallel", "ctx", "split"
THROUGHPUT, LATENCY = "throughput", "latency"
WORTH = 1.05  # times as good as the anchor: less is not worth a change
COST = 0.95  # of the anchor's speed: what a longer context may cost


@dataclasses.dataclass(frozen=True)
class Objective:
    """Under `load`: the most requests/s within `limits`, or the shortest answers of which as many as now keep them."""

    aim: str
    limits: Limits
    load: Load

    @property
    def metric(self) -> str:
        return "goodput" if self.aim == THROUGHPUT else "e2e"

    @property
    def told(self) -> str:
        within = f"ttft {_limit(self.limits.ttft)}, tpot {_limit(self.limits.tpot)}"
        at = f"{self.load.concurrency} at once, mix {self.load.mix.name}"
        if self.aim == THROUGHPUT:
            return f"the most requests/s within {within}, {at}"
        return f"the shortest answers, as many of them within {within} as now, {at}"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """
    One configuration. `settings`: what applying it saves. `price`: among equals the least wins.

    `why_not`: why it is not measured; empty: it is. `prediction`: of so many answers at once as the load keeps at work.
    """

    name: str
    plan: Plan
    prediction: Prediction | None
    settings: tuple[tuple[str, object], ...] = ()
    price: float = 0.0
    why_not: str = ""


@dataclasses.dataclass(frozen=True)
class Visit:
    """One load of a configuration, measured once. `seconds` include the loading; `kv_bytes` as its workers' log says."""

    run: Run
    seconds: float
    kv_bytes: int = 0


def _limit(value: float | None) -> str:
    return "without limit" if value is None else f"{value:g} ms"
