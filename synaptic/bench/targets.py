"""
What is wanted of a cluster: for each metric a target, what is acceptable, and what is critical; and what a measurement makes of it.

    PASS   the target is reached       WARN   it is acceptable       FAIL   it is neither
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from synaptic.bench.limits import LIMITS
from synaptic.bench.result import METRICS, LoadPoint, Result
from synaptic.errors import UsageError
from synaptic.files import path_of
from synaptic.results import Json
from synaptic.shipped import shipped
from synaptic.terminal import one_line

LIMIT = 1 << 20  # bytes that are read at most
_BOUND = re.compile(r"(<=|>=|<|>)\s*(\d+(?:\.\d+)?)")
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
EXTRA = ("gpu_busy", "gpu_memory", "network")  # of telemetry
PASS, WARN, FAIL, UNKNOWN = "PASS", "WARN", "FAIL", "not measured"


@dataclasses.dataclass(frozen=True)
class Bound:
    sign: str
    value: float

    @classmethod
    def parse(cls, text: object) -> Bound:
        match = _BOUND.fullmatch(str(text).strip())
        if not match:
            raise UsageError(f'"{one_line(str(text), 40)}" is no bound', hint='such as ">= 15" or "< 2000"')
        return cls(match[1], float(match[2]))

    @property
    def is_least(self) -> bool:
        """More is better."""
        return self.sign in (">", ">=")

    def holds(self, value: float) -> bool:
        return _SIGNS[self.sign](value, self.value)

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"

    def as_json(self) -> Json:
        return str(self)


@dataclasses.dataclass(frozen=True)
class Target:
    """`statistic`: mean, p50, p90, p95 or p99."""

    metric: str
    unit: str
    target: Bound
    acceptable: Bound
    critical: Bound | None = None
    statistic: str = "mean"

    def verdict(self, value: float | None) -> str:
        if value is None:
            return UNKNOWN
        return PASS if self.target.holds(value) else WARN if self.acceptable.holds(value) else FAIL


@dataclasses.dataclass(frozen=True)
class Stage:
    """A machine of the subject. Bytes/s, seconds."""

    name: str
    bandwidth: float
    round_trip: float = 0.0
    link: float | None = None


@dataclasses.dataclass(frozen=True)
class Subject:
    """What the targets are wanted of: a model by its figures, over these machines; the first one is the head."""

    bytes: float
    parameters: float
    quantization: str
    layers: int
    embedding: int
    vocabulary: int
    kv_heads: int
    head_length: int
    machines: tuple[Stage, ...]
    context: int
    prompt: int
    slots: int


@dataclasses.dataclass(frozen=True)
class Targets:
    name: str
    about: str
    source: str
    targets: tuple[Target, ...]
    subject: Subject | None = None


def built_in() -> list[Targets]:
    """MLPerf's limits, which hold at the 99th percentile."""
    found = []
    for limits in LIMITS.values():
        bounds = [(metric, value) for metric, value in (("ttft", limits.ttft), ("tpot", limits.tpot)) if value]
        targets = tuple(Target(metric, "ms", Bound("<=", value), Bound("<=", value), statistic="p99") for metric, value in bounds)
        found.append(Targets(limits.name, "MLPerf Inference, server scenario", limits.source, targets))
    return found


def files() -> list[Path]:
    return sorted(shipped("bench", "targets").glob("*.yaml"))


def find(text: str) -> Targets:
    """By its name, or a file of YAML or JSON. Raises UsageError."""
    if named := next((each for each in built_in() if each.name == text), None):
        return named
    path = next((path for path in files() if path.stem == text), path_of(text))
    like = [name for name in (*(path.stem for path in files()), *LIMITS) if name.startswith(text)]
    if like and not path.exists():
        raise UsageError(f"no targets are called {one_line(text, 200)}", hint=f"did you mean: {', '.join(like)}")
    return read(path)


def read(path: Path) -> Targets:
    """Raises UsageError."""
    import yaml

    try:
        with path.open("rb") as file:
            values = yaml.safe_load(file.read(LIMIT))
        metrics = tuple(_target(each) for each in values["metrics"])
        subject = _subject(values["subject"]) if values.get("subject") else None
        return Targets(str(values["name"]), str(values.get("about", "")), str(values.get("source", "")), metrics, subject)
    except OSError as error:
        raise UsageError(f"no targets are called {one_line(str(path), 200)}", hint="try: targets list") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        why = one_line(str(error), 120)
        raise UsageError(f"{path} has no targets that can be read: {why}", hint=f"{files()[0]} is an example") from error


def measured(target: Target, result: Result, point: LoadPoint) -> float | None:
    """None: not measured, or too few values for this percentile."""
    if target.metric in METRICS:
        value = getattr(point.of(target.metric), target.statistic)
        return None if value is None else float(value)
    return _watched(target.metric, result)


def _watched(metric: str, result: Result) -> float | None:
    """Of the telemetry: the busiest GPU's mean, the fullest one's peak, the mean traffic both ways."""
    moments = [each for said in result.telemetry.values() if isinstance(said, dict) for each in _moments(said)]
    if metric == "network":
        both = [(each["sent"] + each["received"]) * 8 / 1e9 for each in moments if "sent" in each]
        return sum(both) / len(both) if both else None
    name = {"gpu_busy": "busy", "gpu_memory": "memory"}[metric]
    known = [value for each in moments for gpu in each.get("gpus", ()) if (value := gpu[name]) is not None]
    if not known:
        return None
    return max(known) / 1e9 if name == "memory" else float(sum(known) / len(known))


def _moments(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    series = said.get("series")
    return [each for each in series if isinstance(each, dict)] if isinstance(series, list) else []


def _target(values: Mapping[str, Any]) -> Target:
    metric, statistic = str(values["metric"]), str(values.get("statistic", "mean"))
    if metric not in (*METRICS, *EXTRA) or statistic not in ("mean", "p50", "p90", "p95", "p99"):
        raise ValueError(f"{metric} {statistic} is not measured")
    critical = Bound.parse(values["critical"]) if values.get("critical") else None
    return Target(
        metric, str(values.get("unit", "")), Bound.parse(values["target"]), Bound.parse(values["acceptable"]), critical, statistic
    )


def _subject(values: Mapping[str, Any]) -> Subject:
    model, machines = values["model"], tuple(_stage(each) for each in values["machines"])
    whole = {name: int(model[name]) for name in ("layers", "embedding", "vocabulary", "kv_heads", "head_length")}
    asked = {name: int(values[name]) for name in ("context", "prompt", "slots")}
    found = Subject(float(model["bytes"]), float(model["parameters"]), str(model["quantization"]), machines=machines, **whole, **asked)
    if not machines or min(*whole.values(), *asked.values(), found.bytes, found.parameters) <= 0 or found.layers < len(machines):
        raise ValueError("the subject's figures must be positive, and its layers at least as many as its machines")
    return found


def _stage(values: Mapping[str, Any]) -> Stage:
    link = values.get("link_gbps")
    bandwidth = float(values["bandwidth_gbs"]) * 1e9
    if bandwidth <= 0:
        raise ValueError("a bandwidth must be positive")
    return Stage(str(values["name"]), bandwidth, float(values.get("round_trip_us", 0)) / 1e6, float(link) * 1e9 / 8 if link else None)
