"""
Free dllama workers, parked: we hold an empty session with each, so nobody else can connect to it.

A free worker ends when whoever connects is no root: a port scan is enough. One in a session has no open port, computes
nothing, and listens again as soon as the session ends, or we do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError
from synaptic.events import Bus, Noticed

if TYPE_CHECKING:
    from synaptic.dllama.to_worker import ToWorker

OWNER = "this program, which keeps it parked"
_LISTENING = 0.5  # seconds for a worker to listen again; 8 ms is usual


class Workers(Protocol):
    """Who knows them, and who holds each. `asking`: held while an answer of theirs is awaited."""

    asking: asyncio.Lock

    def hold(self, endpoints: Iterable[Endpoint], owner: str) -> None: ...

    def holder(self, endpoint: Endpoint) -> str | None: ...

    def release(self, owner: str, only: Endpoint | None = None) -> None: ...

    def served(self, endpoints: Iterable[Endpoint]) -> None: ...

    async def absent(self, endpoints: Iterable[Endpoint], *, within: float) -> dict[Endpoint, str]: ...


class Parking:
    """What a root of ours needs is freed for it, and parked again when it is done. In one loop."""

    def __init__(self, workers: Workers, bus: Bus) -> None:
        self._workers = workers
        self._bus = bus
        self._links: dict[Endpoint, ToWorker] = {}
        self._lent: set[Endpoint] = set()  # to a root of ours

    @property
    def parked(self) -> list[Endpoint]:
        return list(self._links)

    async def park(self, endpoints: Iterable[Endpoint]) -> dict[Endpoint, str]:
        """Those that could not be, and why. One that another holds is left to it."""
        wanted = [each for each in dict.fromkeys(endpoints) if each not in self._links]
        async with self._workers.asking:
            troubles = await asyncio.gather(*(self._park(endpoint) for endpoint in wanted))
        return {endpoint: trouble for endpoint, trouble in zip(wanted, troubles, strict=True) if trouble}

    async def unpark(self, endpoints: Iterable[Endpoint] | None = None) -> list[Endpoint]:
        """These, or all; those that were parked. They listen again by then."""
        chosen = list(self._links) if endpoints is None else [each for each in dict.fromkeys(endpoints) if each in self._links]
        self._lent.difference_update(list(self._lent) if endpoints is None else chosen)
        await asyncio.gather(*map(self._unpark, chosen))
        return chosen

    async def lend(self, endpoints: Iterable[Endpoint]) -> None:
        """Free them for a root of ours."""
        self._lent.update(await self.unpark(endpoints))

    async def take_back(self, endpoints: Iterable[Endpoint]) -> None:
        """The root is done with them."""
        lent = self._lent.intersection(endpoints)
        self._lent -= lent
        if troubles := await self.park(lent):
            named = "; ".join(f"{endpoint} {why}" for endpoint, why in troubles.items())
            self._bus.publish(Noticed(text=f"not parked again: {named}", attention=True))

    async def _park(self, endpoint: Endpoint) -> str:
        from synaptic.dllama.to_worker import LostWorkerError

        try:
            self._workers.hold([endpoint], OWNER)
        except BackendError:
            return f"is in use by {self._workers.holder(endpoint)}"
        parking = asyncio.ensure_future(asyncio.to_thread(_parked, endpoint))  # left too early, the worker would end
        try:
            link = await asyncio.shield(parking)
        except LostWorkerError as error:
            self._workers.release(OWNER, endpoint)
            return error.why
        except asyncio.CancelledError:
            parking.add_done_callback(_finished)
            self._workers.release(OWNER, endpoint)
            raise
        self._links[endpoint] = link
        self._workers.served([endpoint])
        asyncio.get_running_loop().add_reader(link.fileno(), self._lost, endpoint)  # nothing is ever said: it can only end
        return ""

    async def _unpark(self, endpoint: Endpoint) -> None:
        link = self._links.pop(endpoint)
        asyncio.get_running_loop().remove_reader(link.fileno())
        ending = asyncio.ensure_future(asyncio.to_thread(link.finish))
        try:
            await asyncio.shield(ending)
        finally:
            await asyncio.wait([ending])
            self._workers.release(OWNER, endpoint)
            await self._workers.absent([endpoint], within=_LISTENING)

    def _lost(self, endpoint: Endpoint) -> None:
        link = self._links.pop(endpoint)
        asyncio.get_running_loop().remove_reader(link.fileno())
        link.close()
        self._workers.release(OWNER, endpoint)
        self._bus.publish(Noticed(text=f"parked worker {endpoint} ended its session   try: dllama check", attention=True))


def _parked(endpoint: Endpoint) -> ToWorker:
    from synaptic.dllama.to_worker import connect
    from synaptic.dllama.wire import Peer

    link = connect(Peer(endpoint.host, endpoint.port))
    try:
        link.park()
    except BaseException:
        link.finish()
        raise
    return link


def _finished(parking: asyncio.Future[ToWorker]) -> None:
    if not parking.cancelled() and parking.exception() is None:
        asyncio.get_running_loop().run_in_executor(None, parking.result().finish)
