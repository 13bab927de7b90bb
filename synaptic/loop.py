"""asyncio's loop, which can be told to gather what comes: many small streams at once cost less when it wakes less often."""

from __future__ import annotations

import asyncio
import selectors
import time


class _Selector(selectors.DefaultSelector):
    gathers = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.gathers and (timeout is None or timeout > self.gathers):
            time.sleep(self.gathers)
            timeout = timeout and timeout - self.gathers
        return super().select(timeout)


class Loop(asyncio.SelectorEventLoop):
    """It sleeps `gathers` seconds before it looks what there is to do, so that it finds more of it at once; 0: it does not."""

    def __init__(self) -> None:
        self._gathering = _Selector()
        super().__init__(self._gathering)

    @property
    def gathers(self) -> float:
        return self._gathering.gathers

    @gathers.setter
    def gathers(self, seconds: float) -> None:
        self._gathering.gathers = seconds
