"""What stays of a tuning: a measurement for each configuration, and a decision that rests on two of them. Values only."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping, Sequence

from synaptic import __version__
from synaptic.bench.decisions import Decision
from synaptic.bench.kept import new_id
from synaptic.bench.load.measurement import WARM_UP, point_of
from synaptic.bench.result import Identity, Result, Software
from synaptic.bench.sample import DEFINITIONS
from synaptic.bench.tune.values import CONTEXT, COST, Candidate, Objective, Visit
from synaptic.bench.tune.verdict import Verdict, has_gone_to_zero
from synaptic.planning.costmodel import Prediction
from synaptic.planning.predictions import Measured
from synaptic.results import Json, to_json


@dataclasses.dataclass(frozen=True)
class About:
    """What all measurements of one tuning have in common. `build`: of its llama-server."""

    kind: str
    model: Identity
    build: str
    objective: Objective
    requests: int
    seed: int


def result_of(about: About, candidate: Candidate, visits: Sequence[Visit], *, complete: bool) -> Result:
    """One configuration; each visit is a repeat."""
    plan, objective = candidate.plan, about.objective
    config: dict[str, Json] = {
        "tune": about.kind,
        "candidate": candidate.name,
        "slots": plan.slots,
        "context": plan.context,
        "workers": [str(worker) for worker in plan.workers],
        "tensor_split": list(plan.tensor_split),
        "kv_type": plan.kv_type,
        "requests": about.requests,
        "repeats": len(visits),
        "seed": about.seed,
        "warm_up": WARM_UP,
    }
    where = ", ".join(map(str, plan.workers)) or "this machine"
    return Result(
        id=new_id(),
        at=time.time(),
        tool=__version__,
        model=about.model,
        profile=None,
        software=Software("llama-server", about.build, where),
        route=None,
        config=config,
        limits=objective.limits,
        points=(point_of(objective.load, [visit.run for visit in visits]),),
        definitions=DEFINITIONS,
        telemetry={},
        prediction=to_json(candidate.prediction) if candidate.prediction else None,
        complete=complete,
    )


def decision_of(
    about: About,
    now: Candidate,
    verdicts: Sequence[Verdict],
    chosen: Verdict | None,
    visits: Mapping[str, Sequence[Visit]],
    ids: Mapping[str, str],
) -> Decision:
    """For the chosen one, or for staying, against the one that came nearest. Its evidence are the two measurements."""
    near = chosen or max(
        (each for each in verdicts if each.difference), key=lambda each: each.difference.ratio if each.difference else 0.0, default=None
    )
    decision = Decision(
        name=name_of(about),
        claim=_claim(about, now, near, chosen),
        prediction=_predicted(now, near.candidate if near else None),
        metric=None,
        at_least=None,
        evidence=(),
        again="when the workers, their network, the model or the load change",
    )
    if near is None:
        return decision
    pair = (now.name, chosen.candidate.name) if chosen else (near.candidate.name, now.name)
    runs = [visit.run for name in pair for visit in visits.get(name, ())]
    if not ids.keys() >= set(pair) or has_gone_to_zero(runs, about.objective):
        return decision
    least = 1.0 if chosen and about.kind != CONTEXT else COST
    return dataclasses.replace(decision, metric=about.objective.metric, at_least=least, evidence=tuple(ids[name] for name in pair))


def measured(candidate: Candidate, visits: Sequence[Visit]) -> Measured | None:
    """As the cost model predicts it: tokens/s of all answers at once while they are written. None: it predicted nothing."""
    samples = [sample for visit in visits for sample in visit.run.requests if sample.is_whole]
    gaps = [sample.tpot for sample in samples if sample.tpot]
    firsts = [sample.ttft for sample in samples if sample.ttft is not None]
    if candidate.prediction is None or not gaps:
        return None
    rate = candidate.prediction.slots * 1000 * len(gaps) / sum(gaps)
    return Measured(rate, sum(firsts) / len(firsts) if firsts else None, sum(each.tokens for each in samples))


def prediction_error(said: Prediction, came: Measured) -> float | None:
    """Of the likely value, as a part of what was measured."""
    return said.expected / came.tokens_per_second - 1 if came.tokens_per_second else None


def name_of(about: About) -> str:
    words = re.sub(r"[^a-z0-9_.-]+", "-", f"tune-{about.kind}-{about.model.name}".lower())
    return words[:63].rstrip("-.")


def _claim(about: About, now: Candidate, near: Verdict | None, chosen: Verdict | None) -> str:
    aim = f"for {about.objective.told}"
    what = f"{about.model.name}: "
    if chosen and chosen.difference:
        said = chosen.difference
        figures = f"{said.ratio:.2f} times as good ({said.low:.2f} to {said.high:.2f})"
        return f"{what}{chosen.candidate.name} rather than {describe(now)}, {figures}, {aim}"
    if near and near.difference:
        return f"{what}{describe(now)} stays: {near.candidate.name} is {near.difference.ratio:.2f} times as good, {near.word}, {aim}"
    return f"{what}{describe(now)} stays: nothing else was measured, {aim}"


def describe(candidate: Candidate) -> str:
    """Its configuration as it would be set by hand."""
    plan = candidate.plan
    where = ", ".join(map(str, plan.workers)) or "this machine"
    if layers := plan.layers():
        where = " + ".join(f"{worker} {count}" for worker, count in zip(plan.workers, layers, strict=True))
    return f"parallel {plan.slots}, ctx {plan.context}, on {where}"


def _predicted(now: Candidate, other: Candidate | None) -> str:
    told = [(each.name, each.prediction) for each in (now, other) if each and each.prediction]
    return "; ".join(f"{name}: {said.tokens_per_second[0]:.1f} to {said.tokens_per_second[1]:.1f} tok/s" for name, said in told if said)
