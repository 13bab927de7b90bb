"""
Whether a stream still moves, looked at in short steps and not at every token: a deadline for each would cost more than
reading it does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

STEP = 1.0  # seconds


class Watch:
    """
    `idle`: seconds for which we have waited in vain; whoever sees progress sets it to zero. Time in which nobody reads is
    the reader's own, and time in which we did not run ourselves, because we were stopped or the machine slept, is not the
    server's: a step never counts for more than its length.
    """

    def __init__(self, content: aiohttp.StreamReader, limit: Callable[[], float], step: float = STEP) -> None:
        """`limit()`: how long it may be idle at this moment, in seconds."""
        self.idle = 0.0
        self._content = content
        self._limit = limit
        self._step = step
        self._since: float | None = None  # we wait, and this is counted
        self._next: asyncio.TimerHandle | None = None

    def __enter__(self) -> Watch:
        self._look()
        return self

    def __exit__(self, *error: object) -> None:
        if self._next:
            self._next.cancel()

    async def read(self) -> bytes:
        """The next bytes; none at the end. Raises TimeoutError when the stream has been idle for too long."""
        self._since = time.monotonic()
        data = await self._content.readany()  # nobody reads again after an error
        self._count()
        self._since = None
        return data

    def _count(self) -> None:
        if self._since is not None:
            now = time.monotonic()
            self.idle += min(self._step, now - self._since)
            self._since = now

    def _look(self) -> None:
        self._count()
        if self.idle >= self._limit():
            self._content.set_exception(TimeoutError())
        else:
            self._next = asyncio.get_running_loop().call_later(self._step, self._look)
