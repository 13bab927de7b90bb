"""The spinner: one line on stderr while work takes long, gone when it is done."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.text import Text

from synaptic.events import (
    Bus,
    Event,
    GenerationFinished,
    GenerationProgressed,
    GenerationStarted,
    WorkFinished,
    WorkProgressed,
    WorkStarted,
)
from synaptic.results import gib
from synaptic.shell.region import Region, writes_unicode
from synaptic.terminal import one_line

PATIENCE = 0.5  # seconds before anything is drawn
_EVERY = 0.1
_FRAMES, _ASCII_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
_ANSWER = 0  # the works of the bus count from 1


@dataclasses.dataclass
class Work:
    what: str
    began: float
    done: float | None = None
    total: float | None = None
    unit: str = ""

    def line(self, now: float) -> str:
        return " · ".join(part for part in (one_line(self.what), self._amount(), f"{now - self.began:.0f} s") if part)

    def _amount(self) -> str:
        if self.done is None:
            return ""
        if self.unit in ("B", "bytes"):
            return gib(int(self.done)) + (f" of {gib(int(self.total))}" if self.total else "")
        return f"{self.done:.0f}" + (f" of {self.total:.0f}" if self.total else "") + (f" {one_line(self.unit)}" if self.unit else "")


class Progress:
    """
    Listens to `bus` while its context is open. `muted`: something else has the last line now; `beside` is how that shows ours
    below its own, and an empty one when work is over. Silent where nobody watches.
    """

    def __init__(self, bus: Bus, console: Console, *, plain: bool = False) -> None:
        self._bus = bus
        self._console = console
        self._region = Region(console)
        self._is_on = console.is_terminal and not console.is_dumb_terminal and not plain
        self._frames = itertools.cycle(_FRAMES if writes_unicode(console) else _ASCII_FRAMES)
        self._works: dict[int, Work] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.muted = False
        self.beside: Callable[[str], None] | None = None

    def __enter__(self) -> Progress:
        if self._is_on:
            self._bus.tap(self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._is_on:
            self._bus.untap(self._hear)
        if self._timer:
            self._timer.cancel()
        self.hide()

    def hide(self) -> None:
        """Take the line away before something else is printed; it comes back by itself."""
        self._region.paint(())

    def _hear(self, event: Event) -> None:
        match event:
            case WorkStarted():
                self._works[event.work] = Work(event.what, time.monotonic())
            case WorkProgressed() if work := self._works.get(event.work):
                work.what, work.done, work.total, work.unit = event.what, event.done, event.total, event.unit
            case WorkFinished():
                self._works.pop(event.work, None)
            case GenerationStarted():
                self._works[_ANSWER] = Work(f"waiting for {event.model}", time.monotonic())
            case GenerationProgressed() | GenerationFinished():
                self._works.pop(_ANSWER, None)
        if self._works and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._tick)
        elif not self._works:
            self.hide()
            if self.beside:
                self.beside("")

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_EVERY, self._tick) if self._works else None
        now = time.monotonic()
        if (self.muted and not self.beside) or not self._works or now - min(work.began for work in self._works.values()) < PATIENCE:
            return
        newest = list(self._works.values())[-1]
        line = Text(f"{next(self._frames)} {newest.line(now)}")
        line.truncate(max(self._console.width - 3, 1), overflow="ellipsis")
        if self.beside:
            self.beside(line.plain)
        else:
            self._region.paint([line.plain])
