"""
What was decided, why, and whether measurements bear it out.

    confirmed   the interval of the ratio B / A lies at or above what was claimed       (for a time: A / B)
    refuted     it lies below
    unknown     it reaches over it, or there are no two measurements that can be compared
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synaptic.bench.compare import compare
from synaptic.bench.result import METRICS, RATES, Result
from synaptic.errors import SynapticError, UsageError
from synaptic.files import write_whole
from synaptic.results import to_json
from synaptic.shipped import shipped

CONFIRMED, REFUTED, UNKNOWN = "confirmed", "refuted", "unknown"
LIMIT = 1 << 22  # bytes that are read at most


@dataclasses.dataclass(frozen=True)
class Decision:
    """`at_least`: how many times as good B is said to be as A, in `metric`; `evidence`: the ids of A and B, or nothing."""

    name: str
    claim: str
    prediction: str
    metric: str | None
    at_least: float | None
    evidence: tuple[str, ...]
    again: str


@dataclasses.dataclass(frozen=True)
class Judged:
    decision: Decision
    verdict: str
    why: str


class Decisions:
    """`path` None: only the shipped examples."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def all(self) -> list[Decision]:
        """The user's, and the shipped ones that the user has none of the same name for. Raises UsageError."""
        own = {each.name: each for each in _read(self._path)} if self._path and self._path.exists() else {}
        return [*own.values(), *(each for each in _read(shipped("bench", "decisions.json")) if each.name not in own)]

    def add(self, decision: Decision) -> None:
        """Another one of its name gives way. Raises SynapticError."""
        if self._path is None:
            raise SynapticError("there is no folder to keep decisions in", hint="export HOME, or SYNAPTICLLAMAS_HOME")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,62}", decision.name):
            raise UsageError("a decision's name is of a-z, 0-9, -, _ and .", hint="such as: decision add slots-3 …")
        own = [each for each in (_read(self._path) if self._path.exists() else []) if each.name != decision.name]
        write_whole(self._path, json.dumps(to_json([*own, decision]), indent=1) + "\n")


def judge(decision: Decision, find: Callable[[str], Result]) -> Judged:
    """`find` gives a measurement by its id, and raises UsageError where there is none."""
    if decision.metric is None or decision.at_least is None:
        return Judged(decision, UNKNOWN, "no figure decides it")
    if len(decision.evidence) != 2:
        return Judged(decision, UNKNOWN, "nothing has been measured for it")
    try:
        a, b = map(find, decision.evidence)
        found = [each for each in compare(a, b, force=a.model != b.model) if each.metric == decision.metric]
    except UsageError as error:
        return Judged(decision, UNKNOWN, str(error))
    known = [each.difference for each in found if each.difference]
    if not known:
        return Judged(decision, UNKNOWN, "it was not repeated often enough")
    is_rate = decision.metric in RATES
    lows = [each.low if is_rate else 1 / each.high for each in known]
    highs = [each.high if is_rate else 1 / each.low for each in known]
    told = (
        f"{decision.metric}, {'B / A' if is_rate else 'A / B'}: {min(lows):.3f} to {max(highs):.3f}, claimed at least {decision.at_least:g}"
    )
    return Judged(decision, _verdict(min(lows), max(highs), decision.at_least), told)


def _verdict(low: float, high: float, claimed: float) -> str:
    if low >= claimed:
        return CONFIRMED
    return REFUTED if high < claimed else UNKNOWN


def _read(path: Path) -> list[Decision]:
    try:
        with path.open("rb") as file:
            return [_decision(each) for each in json.loads(file.read(LIMIT))]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} holds no decisions that can be read", hint="put it aside, and add them again") from error


def _decision(values: dict[str, Any]) -> Decision:
    metric, least = values["metric"], values["at_least"]
    if metric is not None and metric not in METRICS:
        raise ValueError(metric)
    words = {name: str(values[name]) for name in ("name", "claim", "prediction", "again")}
    return Decision(**words, metric=metric, at_least=None if least is None else float(least), evidence=tuple(map(str, values["evidence"])))
