"""
What was predicted and what came: one line for each answer or benchmark, in the state folder. What comes next is predicted by it.

Lines are only ever appended, so that it costs little and several shells may do it. A full file becomes the one before, whose
lines still count, and the one before that goes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synaptic.errors import unwritten
from synaptic.planning.costmodel import MEASURED, SPECIFIED, Prediction
from synaptic.planning.term import Term
from synaptic.results import to_json

FULL = 1 << 18  # bytes: some hundred lines
LIMIT = 1 << 22  # bytes of a file that are read at most
ANSWER = "an answer"
ENOUGH = 16  # tokens; the speed of a shorter answer says little
NEWEST = 20  # so many measurements are believed; a machine changes
FARTHEST = 100.0  # times as fast or as slow as predicted: beyond it something else was measured


@dataclasses.dataclass(frozen=True)
class Measured:
    """`tokens_per_second`: of all slots together; `tokens`: how many there were in all."""

    tokens_per_second: float | None
    ttft_ms: float | None
    tokens: int = 0


@dataclasses.dataclass(frozen=True)
class Record:
    """`at`: seconds since the epoch. `source`: an answer, or the id of a benchmark."""

    model: str
    at: float
    prediction: Prediction
    measured: Measured
    source: str = ANSWER

    @property
    def ratio(self) -> float | None:
        """How many times as fast it was as the terms said. None: nothing can be learned from it."""
        rate, said = self.measured.tokens_per_second, self.prediction.expected
        if rate is None or rate <= 0 or not said or self.measured.tokens < ENOUGH:
            return None
        return rate / said if 1 / FARTHEST < rate / said < FARTHEST else None


class Predictions:
    """`path` None: only the last one is remembered, and only here."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._last: Record | None = None

    def record(self, model: str, prediction: Prediction, measured: Measured, at: float | None = None, source: str = ANSWER) -> None:
        """Raises SynapticError when the file cannot be written."""
        self._last = Record(model, time.time() if at is None else at, prediction, measured, source)
        if self._path:
            _append(self._path, f"{json.dumps(to_json(self._last))}\n".encode())

    def last(self) -> Record | None:
        """Of an answer; benchmarks are looked at by their ids."""
        return next((record for record in reversed(self.all()) if record.source == ANSWER), None)

    def all(self) -> list[Record]:
        """Oldest first. Lines that cannot be read are left out."""
        if self._path is None:
            return [self._last] if self._last else []
        return [record for line in self._lines() if (record := _read(line))]

    def corrected(self, model: str, said: Prediction) -> Prediction:
        """Reads a file."""
        return corrected(said, model, self.all())

    def _lines(self) -> list[str]:
        return [line for path in (_before(self._path), self._path) for line in _lines(path)] if self._path else []


def corrected(said: Prediction, model: str, records: Sequence[Record]) -> Prediction:
    """
    What the cost model says, moved to where the same machines proved to be: by this model's measurements, or else by any
    other's there, which are believed less. As it was where nothing was measured.
    """
    there = [each for each in records if each.prediction.slots == said.slots and set(each.prediction.machines) == set(said.machines)]
    same = [ratio for each in there if each.model == model and (ratio := each.ratio)][-NEWEST:]
    ratios = same or [ratio for each in there if (ratio := each.ratio)][-NEWEST:]
    if not ratios or not said.machines:
        return said
    learned = statistics.median(ratios)
    error = MEASURED if same else SPECIFIED
    ordered, odd = sorted(ratios), len(ratios) // 10
    low, high = min(learned * (1 - error), ordered[odd]), max(learned * (1 + error), ordered[-1 - odd])
    rates = (said.expected * low, said.expected * high)
    return dataclasses.replace(said, tokens_per_second=rates, learned=learned, learned_from=len(ratios), is_assumed=False)


def prediction_of(values: Mapping[str, Any]) -> Prediction:
    """As it was written down. Raises ValueError, KeyError, TypeError or OverflowError for what is none."""
    return Prediction(
        tokens_per_second=_pair(values["tokens_per_second"]),
        ttft_ms=_pair(values["ttft_ms"]),
        load_seconds=_pair(values["load_seconds"]),
        bottleneck=str(values["bottleneck"]),
        terms=tuple(Term.read(str(name), float(seconds)) for name, seconds in values["terms"]),
        is_assumed=bool(values["is_assumed"]),
        slots=int(values["slots"]),
    )


def _append(path: Path, line: bytes) -> None:
    """In one piece, behind whatever another shell wrote meanwhile. Raises SynapticError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
            end = os.lseek(descriptor, 0, os.SEEK_CUR)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unwritten(path, error) from error
    if end // FULL > (end - len(line)) // FULL:  # one line crosses it: nobody else turns the same file over
        with contextlib.suppress(OSError):  # then the next time that so much is written
            path.replace(_before(path))


def _before(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _lines(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(LIMIT).splitlines()
    except OSError:
        return []


def _read(line: str) -> Record | None:
    try:
        entry = json.loads(line)
        came = entry["measured"]
        measured = Measured(_maybe(came["tokens_per_second"]), _maybe(came["ttft_ms"]), int(came["tokens"]))
        source = str(entry.get("source", ANSWER))
        return Record(str(entry["model"]), float(entry["at"]), prediction_of(entry["prediction"]), measured, source)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def _pair(values: list[float]) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)


def _maybe(value: float | None) -> float | None:
    return None if value is None else float(value)
