"""Starts of coordinators that failed: how long the next one waits, and when there is none until the user acts."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable

from synaptic.errors import EngineError
from synaptic.planning.plan import Plan
from synaptic.process.coordinator_entry import same
from synaptic.process.restart import MOST, WITHIN, delay


@dataclasses.dataclass
class _Record:
    plan: Plan
    cause: str
    is_final: bool
    starts: list[float]


class FailedStarts:
    """`clock` runs steadily, in seconds; `spread` is drawn for each wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, spread: Callable[[], float] = lambda: random.uniform(0.5, 1.5)) -> None:
        self._clock = clock
        self._spread = spread
        self._records: dict[str, _Record] = {}

    def add(self, plan: Plan, cause: str, *, is_final: bool) -> None:
        """`is_final`: the same start can only fail again."""
        name = plan.model.name
        before = self._records[name].starts if name in self._records else []
        self._records[name] = _Record(plan, cause, is_final, [*before[-MOST:], self._clock()])

    def forget(self, model: str) -> None:
        """It started, or the user wants it to be tried again."""
        self._records.pop(model, None)

    def wait(self, plan: Plan) -> float:
        """Seconds to wait before `plan` is started; another plan need not wait. Raises EngineError when it shall not be started."""
        name = plan.model.name
        record = self._records.get(name)
        if record is None:
            return 0.0
        is_same, now = same(record.plan, plan), self._clock()
        if record.is_final and is_same:
            raise EngineError(f"{record.cause}; it was tried, and nothing has changed", hint=_again(name))
        pause = delay(record.starts, now, self._spread())
        if pause is None:
            raise EngineError(f"{name} failed to start {MOST} times in {WITHIN / 60:.0f} minutes: {record.cause}", hint=_again(name))
        return max(record.starts[-1] + pause - now, 0.0) if is_same else 0.0


def _again(name: str) -> str:
    return f"coordinator start {name} tries it again; see: logs coordinator"
