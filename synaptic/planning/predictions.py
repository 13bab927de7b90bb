"""What was predicted and what came: one line for each answer, in the state folder."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from synaptic.planning.costmodel import Prediction
from synaptic.planning.speeds import write_whole
from synaptic.results import Json, to_json

MOST = 500  # lines; the oldest go first
LIMIT = 1 << 22  # bytes that are read at most


@dataclasses.dataclass(frozen=True)
class Measured:
    """`tokens`: how many the answer had."""

    tokens_per_second: float | None
    ttft_ms: float | None
    tokens: int = 0


@dataclasses.dataclass(frozen=True)
class Record:
    """`at`: seconds since the epoch."""

    model: str
    at: float
    prediction: Prediction
    measured: Measured

    def as_json(self) -> Json:
        return {field.name: to_json(getattr(self, field.name)) for field in dataclasses.fields(self)}


class Predictions:
    """`path` None: only the last one is remembered, and only here."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._last: Record | None = None

    def record(self, model: str, prediction: Prediction, measured: Measured, at: float | None = None) -> None:
        """Raises SynapticError when the file cannot be written."""
        self._last = Record(model, time.time() if at is None else at, prediction, measured)
        if self._path:
            lines = [*self._lines(), json.dumps(to_json(self._last))][-MOST:]
            write_whole(self._path, "\n".join(lines) + "\n")

    def last(self) -> Record | None:
        return next(iter(self.all()[-1:]), None)

    def all(self) -> list[Record]:
        """Oldest first. Lines that cannot be read are left out."""
        if self._path is None:
            return [self._last] if self._last else []
        return [record for line in self._lines() if (record := _read(line))]

    def _lines(self) -> list[str]:
        if self._path is None:
            return []
        try:
            with self._path.open(encoding="utf-8", errors="replace") as file:
                return file.read(LIMIT).splitlines()[-MOST:]
        except OSError:
            return []


def _read(line: str) -> Record | None:
    try:
        entry = json.loads(line)
        said, came = entry["prediction"], entry["measured"]
        prediction = Prediction(
            tokens_per_second=_pair(said["tokens_per_second"]),
            ttft_ms=_pair(said["ttft_ms"]),
            load_seconds=_pair(said["load_seconds"]),
            bottleneck=str(said["bottleneck"]),
            terms=tuple((str(name), float(seconds)) for name, seconds in said["terms"]),
            is_assumed=bool(said["is_assumed"]),
            slots=int(said["slots"]),
        )
        measured = Measured(_maybe(came["tokens_per_second"]), _maybe(came["ttft_ms"]), int(came["tokens"]))
        return Record(str(entry["model"]), float(entry["at"]), prediction, measured)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


def _pair(values: list[float]) -> tuple[float, float]:
    low, high = values
    return float(low), float(high)


def _maybe(value: float | None) -> float | None:
    return None if value is None else float(value)
