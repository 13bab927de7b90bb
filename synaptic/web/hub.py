"""
One stream of messages, many viewers.

Each viewer has a queue of its own, which holds the backlog when it comes. One that is too slow loses its oldest
messages, is told how many, and nobody waits for it.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BACKLOG = 500
QUEUE = 1000


class Viewer:
    def __init__(self, waiting: Iterator[str], limit: int, told: Callable[[int], str] | None) -> None:
        self.lost = 0
        self._untold = 0
        self._waiting = collections.deque(waiting, maxlen=limit)
        self._told = told
        self._ready = asyncio.Event()

    def offer(self, message: str) -> None:
        if len(self._waiting) == self._waiting.maxlen:
            self.lost += 1
            self._untold += 1
        self._waiting.append(message)
        self._ready.set()

    async def next(self) -> str:
        """The oldest message, or how many were lost before it."""
        while not self._waiting:
            self._ready.clear()
            await self._ready.wait()
        if self._untold and self._told:
            lost, self._untold = self._untold, 0
            return self._told(lost)
        return self._waiting.popleft()


class Feed:
    """`told(count)` words the message that tells a viewer how many it lost; None: it is not told, for the newest says it all."""

    def __init__(self, *, backlog: int = BACKLOG, limit: int = QUEUE, told: Callable[[int], str] | None = None) -> None:
        self._backlog: collections.deque[str] = collections.deque(maxlen=backlog)
        self._limit = limit
        self._told = told
        self._viewers: set[Viewer] = set()

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    @property
    def lost(self) -> int:
        """By those who look now."""
        return sum(viewer.lost for viewer in self._viewers)

    def publish(self, message: str) -> None:
        """Never blocks."""
        self._backlog.append(message)
        for viewer in self._viewers:
            viewer.offer(message)

    @contextmanager
    def viewer(self) -> Iterator[Viewer]:
        viewer = Viewer(iter(self._backlog), self._limit, self._told)
        self._viewers.add(viewer)
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)
