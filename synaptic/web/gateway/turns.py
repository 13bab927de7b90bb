"""
Whose turn it is at a coordinator: it answers as many as it has slots, and the others wait here.

Clients come in turn, however many requests one of them has waiting; the requests of one client in their order. One that
leaves gives up its place. The engines have queues of their own, but those know no clients, and what waits in them
counts as a stalled answer after a while.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Hashable, Iterator

from synaptic.web.gateway.refusal import NotNowError

MOST = 512  # requests at a time, running or waiting: Ollama's own limit
MOST_OF_ONE = 256  # of one client


@dataclasses.dataclass
class _Line:
    """`waiting`: each client's requests; the client whose turn is next comes first."""

    running: int = 0
    waiting: collections.OrderedDict[str, collections.deque[asyncio.Future[None]]] = dataclasses.field(
        default_factory=collections.OrderedDict
    )

    def next(self) -> asyncio.Future[None] | None:
        while self.waiting:
            client, queue = self.waiting.popitem(last=False)
            place = queue.popleft()
            if queue:
                self.waiting[client] = queue  # behind all others
            if not place.done():
                return place
        return None


class Turns:
    def __init__(self, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._requests_of: collections.Counter[str] = collections.Counter()
        self._lines: dict[Hashable, _Line] = {}

    @contextlib.asynccontextmanager
    async def turn(self, at: Hashable, slots: int, client: str) -> AsyncIterator[Callable[[], None]]:
        """Wait for one of the `slots` there; what is given back ends the turn early. Raises NotNowError when too many wait."""
        with self._counted(client):
            line = self._lines.setdefault(at, _Line())
            try:
                await self._wait(line, slots, client)
                held = [line]  # empty once the turn is over: it is given up no more than once

                def over() -> None:
                    if held:
                        self._pass_on(held.pop())

                try:
                    yield over
                finally:
                    over()
            finally:
                if not line.running and not line.waiting and self._lines.get(at) is line:
                    del self._lines[at]

    def running(self, at: Hashable) -> int:
        line = self._lines.get(at)
        return line.running if line else 0

    def waiting(self, at: Hashable) -> int:
        line = self._lines.get(at)
        return sum(not place.done() for queue in line.waiting.values() for place in queue) if line else 0

    @contextlib.contextmanager
    def _counted(self, client: str) -> Iterator[None]:
        if self._requests_of.total() >= self._most:
            raise NotNowError(f"{self._most} requests are waiting already")
        if self._requests_of[client] >= self._most_of_one:
            raise NotNowError(f"{self._requests_of[client]} requests of yours are waiting already", status=429)
        self._requests_of[client] += 1
        try:
            yield
        finally:
            self._requests_of[client] -= 1
            if not self._requests_of[client]:
                del self._requests_of[client]

    async def _wait(self, line: _Line, slots: int, client: str) -> None:
        if line.running < slots:
            line.running += 1
            return
        place = asyncio.get_running_loop().create_future()
        line.waiting.setdefault(client, collections.deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was our turn in the very moment in which we left
                self._pass_on(line)
            with contextlib.suppress(KeyError, ValueError):
                line.waiting[client].remove(place)
                if not line.waiting[client]:
                    del line.waiting[client]
            raise

    def _pass_on(self, line: _Line) -> None:
        if following := line.next():
            following.set_result(None)
        else:
            line.running -= 1
