"""
The distributed-llama workers we know. A free one listens and must not be spoken to; a busy one does not even listen.

So it is only looked at, without a word. `idle`: it was proved, or served us, and its port is open since; `unverified`:
its port is open; `unreachable`: it refuses, and nobody but its root can tell whether it is busy or down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.dllama import prove
from synaptic.cluster.dllama_parking import Parking
from synaptic.cluster.handshake import Foreign, Version
from synaptic.cluster.pool import Pool
from synaptic.endpoint import Endpoint
from synaptic.events import Bus

REFUSES = "refuses: busy with a root, or down"
CLOSED, SILENT = "closed", "silent"
_NO_LOOK = "not looked at: this system has no look that does it no harm"
_LEFT_ALONE = "open, not asked: --verify proves it"
_STEP = 0.1  # seconds between two looks
_AWAY = 2.0  # seconds in which a worker listens again after a session, or whoever asks next is refused

# what is wrong with each port: nothing (""), CLOSED, SILENT, or a sentence; not in it: no look was possible
Look = Callable[[Sequence[Endpoint]], Awaitable[Mapping[Endpoint, str]]]


class DllamaWorkers(Pool):
    """`check` looks, `prove` asks."""

    def __init__(self, bus: Bus, look: Look) -> None:
        super().__init__(bus, kind=Kind.DLLAMA, shake=self._looked_at)
        self.asking = asyncio.Lock()  # whoever starts a root holds its workers under it
        self.parking = Parking(self, bus)
        self._look = look
        self._proved: set[Endpoint] = set()
        self._refuted: dict[Endpoint, str] = {}  # open ports that proved to be something else, and what they did

    async def prove(self, endpoints: Iterable[Endpoint] | None = None) -> list[Backend]:
        """Hold an empty session with these, or all known ones, but none that we hold ourselves. Not beside a root that starts."""
        wanted = dict.fromkeys([record.endpoint for record in self.records()] if endpoints is None else endpoints)
        async with self.asking:
            looked = await self.check(wanted)
            open_ones = [each.endpoint for each in looked if each.state in (State.IDLE, State.UNVERIFIED)]
            for answer in await asyncio.gather(*map(prove, open_ones)):
                self._take(answer)
            await self.absent([each for each in open_ones if each in self._proved], within=_AWAY)
        return [self.record(each.endpoint) or each for each in looked]

    def served(self, endpoints: Iterable[Endpoint]) -> None:
        """A root of ours worked with them: that is proof enough."""
        for endpoint in endpoints:
            self._proved.add(endpoint)
            self._refuted.pop(endpoint, None)

    async def absent(self, endpoints: Iterable[Endpoint], *, within: float) -> dict[Endpoint, str]:
        """Those whose ports stay closed for so long, and why. One that has just lost its root needs a moment to listen again."""
        left = list(endpoints)
        end = time.monotonic() + within
        while True:
            troubles = await self._look(left)
            left = [endpoint for endpoint in left if troubles.get(endpoint)]
            if not left or time.monotonic() > end:
                return {endpoint: _worded(troubles[endpoint]) for endpoint in left}
            await asyncio.sleep(_STEP)

    async def _looked_at(self, endpoint: Endpoint, *, within: float, speaks: Version | None) -> Backend | Foreign:
        trouble = (await self._look([endpoint])).get(endpoint)
        if trouble:  # who listens there next may be another
            self._proved.discard(endpoint)
            self._refuted.pop(endpoint, None)
        if objection := _worded(trouble or "") or self._refuted.get(endpoint):
            return Backend(endpoint, Kind.DLLAMA, State.UNREACHABLE, detail=objection)
        if endpoint in self._proved:
            return Backend(endpoint, Kind.DLLAMA, State.IDLE)
        return Backend(endpoint, Kind.DLLAMA, State.UNVERIFIED, detail=_LEFT_ALONE if trouble == "" else _NO_LOOK)

    def _take(self, answer: Backend | Foreign) -> None:
        if isinstance(answer, Backend):
            self._proved.add(answer.endpoint)
            self._refuted.pop(answer.endpoint, None)
        else:
            objection = f"no dllama worker lives there: it {answer.detail}"
            self._refuted[answer.endpoint] = objection
            answer = Backend(answer.endpoint, Kind.DLLAMA, State.UNREACHABLE, detail=objection)
        self._remember(answer)


def _worded(trouble: str) -> str:
    return {CLOSED: REFUSES, SILENT: "its machine does not answer"}.get(trouble, trouble)
