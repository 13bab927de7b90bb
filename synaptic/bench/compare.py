"""
Two measurements beside each other: the ratio of each mean with its interval, and whether the difference is more than chance.

Pure. Each repeat counts once. Where profile or model differ, or requests failed, there is nothing to compare.
"""

from __future__ import annotations

import dataclasses

from synaptic.bench.figures import Difference, difference
from synaptic.bench.result import METRICS, RATES, Identity, LoadPoint, Result
from synaptic.errors import UsageError
from synaptic.results import Json


@dataclasses.dataclass(frozen=True)
class Compared:
    """`difference` None: too few repeats, or nothing measured. `load` such as `2 at once`."""

    mix: str
    load: str
    metric: str
    a: float | None
    b: float | None
    difference: Difference | None

    @property
    def verdict(self) -> str:
        found = self.difference
        if found is None:
            return "not known"
        if not found.is_significant:
            return "no difference that is more than chance"
        return "better" if (found.ratio > 1) is (self.metric in RATES) else "worse"

    def as_json(self) -> Json:
        said = self.difference
        shown: dict[str, Json] = {"ratio": None, "ci95": None, "p": None, "significant": None}
        if said:
            shown = {"ratio": said.ratio, "ci95": [said.low, said.high], "p": said.p, "significant": said.is_significant}
        named: dict[str, Json] = {"mix": self.mix, "load": self.load, "metric": self.metric, "a": self.a, "b": self.b}
        return named | shown | {"verdict": self.verdict}


def compare(a: Result, b: Result, *, force: bool = False) -> list[Compared]:
    """B against A, for each load that both have. UsageError: they cannot be compared; `force`: never mind."""
    reasons = why_not(a, b)
    if reasons and not force:
        raise UsageError(f"{reasons[0]}: these two cannot be compared", hint="--force compares them all the same")
    others = {_key(point): point for point in b.points}
    pairs = [(point, others[_key(point)]) for point in a.points if _key(point) in others]
    if not pairs:
        raise UsageError("the two have no mix and load in common", hint="measure both with the same --mix and --concurrency")
    return [_compared(one, other, metric) for one, other in pairs for metric in METRICS]


def why_not(a: Result, b: Result) -> list[str]:
    """Each reason why these two cannot be compared; none: they can."""
    found = []
    if differ(a.model, b.model):
        found.append(f"their models differ ({_told(a.model)} and {_told(b.model)})")
    if _mark(a.profile) != _mark(b.profile):
        found.append(f"their profiles differ ({_told(a.profile)} and {_told(b.profile)})")
    for result in (a, b):
        found += [f"{result.id} was interrupted"] if not result.complete else []
        found += [f"{result.id}, {point.mix}, {point.load}: {point.why_not}" for point in result.points if point.why_not]
    return found


def differ(one: Identity, other: Identity) -> bool:
    """By their files; by name where one of these is not known."""
    return one.sha256 != other.sha256 if one.sha256 and other.sha256 else one.name != other.name


def _compared(one: LoadPoint, other: LoadPoint, metric: str) -> Compared:
    found = difference(one.means(metric), other.means(metric))
    return Compared(one.mix, one.load, metric, one.of(metric).mean, other.of(metric).mean, found)


def _key(point: LoadPoint) -> tuple[str, int | None, float | None]:
    return point.mix, point.concurrency, point.rate


def _mark(identity: Identity | None) -> str | None:
    return identity.sha256 if identity else None


def _told(identity: Identity | None) -> str:
    return f"{identity.name} {(identity.sha256 or '')[:12]}".strip() if identity else "none"
