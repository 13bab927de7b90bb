"""A measurement against what the cost model expected of it: where each token's time went. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from synaptic.bench.result import LoadPoint, Result
from synaptic.errors import UsageError
from synaptic.planning.advice import Fix, advise
from synaptic.planning.costmodel import Prediction
from synaptic.planning.expected import Expectation
from synaptic.planning.predictions import Measured, prediction_of
from synaptic.results import Json, to_json


@dataclasses.dataclass(frozen=True)
class Busy:
    """`expected`: the share of its time in which it works for these answers; `measured`: its processor's, or its busiest GPU's."""

    machine: str
    expected: float
    measured: float | None


@dataclasses.dataclass(frozen=True)
class Explained:
    """One load of a measurement. `step`: seconds that one token of each answer at work took, all of it."""

    point: LoadPoint
    said: Prediction
    step: float | None
    busy: tuple[Busy, ...]
    fixes: tuple[Fix, ...]

    @property
    def measured(self) -> Measured:
        rate = self.said.slots / self.step if self.step else None
        tokens = self.point.completion_tokens
        return Measured(rate, self.point.ttft.mean, round((tokens.mean or 0.0) * tokens.n))


def expectations(now: Expectation, points: Sequence[LoadPoint]) -> dict[str, Json]:
    """What is kept with a measurement: what was expected of one answer, and of each closed load; and what would help."""
    one = to_json(now.predicted())
    assert isinstance(one, dict)
    closed = [point for point in points if point.concurrency and point.prompt_tokens.mean]
    loads: list[Json] = [{"mix": each.mix, "load": each.load, "prediction": to_json(_of_load(now, each))} for each in closed]
    about = now.as_json()
    assert isinstance(about, dict)
    return {**one, **about, "fixes": to_json(advise(now)), "loads": loads}


def explained(result: Result) -> list[Explained]:
    """Each load that something was expected of; none where the machines were not known."""
    kept = result.prediction if isinstance(result.prediction, dict) else {}
    loads = kept.get("loads")
    points = {(point.mix, point.load): point for point in result.points}
    found = []
    for each in loads if isinstance(loads, list) else []:
        if isinstance(each, dict) and (point := points.get((str(each.get("mix")), str(each.get("load"))))):
            found.append(_explained(result, point, _read(result, each.get("prediction")), _fixes(kept)))
    return found


def busy_of(said: Prediction, measured: Mapping[str, float]) -> tuple[Busy, ...]:
    """One after another: of n machines each works about 1/n of the time, and that is no fault. `measured`: by machine."""
    return tuple(Busy(term.whose, term.seconds / said.step if said.step else 0.0, measured.get(term.whose)) for term in said.works)


def _of_load(now: Expectation, point: LoadPoint) -> Prediction:
    """More requests than slots wait in a queue: they are not at work."""
    return now.predicted(at_once=min(point.concurrency or 1, now.plan.slots), prompt=round(point.prompt_tokens.mean or 1))


def _explained(result: Result, point: LoadPoint, said: Prediction, fixes: tuple[Fix, ...]) -> Explained:
    tpot = point.tpot.mean
    watched = {machine: share for machine in said.machines if (share := _watched(result, machine)) is not None}
    return Explained(point, said, tpot / 1000 if tpot else None, busy_of(said, watched), fixes)


def _read(result: Result, values: object) -> Prediction:
    try:
        if not isinstance(values, dict):
            raise TypeError
        return prediction_of(values)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UsageError(f"what was predicted for {result.id} cannot be read", hint="measure again: bench run") from error


def _fixes(kept: Mapping[str, Any]) -> tuple[Fix, ...]:
    listed = kept.get("fixes")
    try:
        return tuple(Fix(str(each["change"]), str(each["effort"]), float(each["gain"]), int(each["answers"])) for each in listed or ())
    except (ValueError, KeyError, TypeError):
        return ()


def _watched(result: Result, machine: str) -> float | None:
    """The mean of what telemetry saw there, as a share; a worker is watched under its host, one of ours with this machine."""
    host = machine.rpartition(":")[0]
    is_here = host.startswith("127.") or host == "[::1]"
    said = result.telemetry.get(machine) or result.telemetry.get("this machine" if is_here else host)
    series: Any = said.get("series") if isinstance(said, dict) else None
    shares = [share for moment in series or () if isinstance(moment, dict) and (share := _share(moment)) is not None]
    return sum(shares) / len(shares) if shares else None


def _share(moment: Mapping[str, Any]) -> float | None:
    gpus = [gpu["busy"] for gpu in moment.get("gpus") or () if gpu.get("busy") is not None]
    value = max(gpus) if gpus else moment.get("cpu")
    return None if value is None else float(value) / 100
