"""Keeps what the link is told equal to what runs here."""

from __future__ import annotations

import asyncio
import platform
import socket
from collections.abc import Callable, Sequence

from synaptic.discovery.announcer import Announcer
from synaptic.discovery.interfaces import read_interfaces
from synaptic.discovery.targets import Interface, is_virtual
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError
from synaptic.events import Bus, Noticed

RPC = "_llama-rpc._tcp.local."


class Presence:
    """One task at most is at work; what is wanted meanwhile is done after it."""

    def __init__(self, bus: Bus, interfaces: Callable[[], Sequence[Interface]] = read_interfaces) -> None:
        self._bus = bus
        self._interfaces = interfaces
        self._wanted: frozenset[Endpoint] = frozenset()
        self._refused: set[Endpoint] = set()
        self._announcer: Announcer | None = None
        self._work: asyncio.Task[None] | None = None
        self._is_closed = False

    def want(self, workers: Sequence[Endpoint]) -> None:
        """These rpc-servers of this machine run now; those that others can reach are told in a while."""
        self._wanted = frozenset(workers)
        self._refused &= self._wanted
        if not self._is_closed and (self._work is None or self._work.done()):
            self._work = asyncio.create_task(self._settle())

    async def settled(self) -> None:
        """Return once everything that is wanted is told."""
        if self._work:
            await asyncio.wait([self._work])

    async def close(self) -> None:
        """Say goodbye; also when cancelled meanwhile. Once only."""
        self._is_closed = True
        closing = asyncio.create_task(self._say_goodbye())
        try:
            await asyncio.shield(closing)
        finally:
            await asyncio.wait([closing])

    async def _say_goodbye(self) -> None:
        if self._work:
            self._work.cancel()
            await asyncio.wait([self._work])
        if self._announcer:
            await self._announcer.close()

    async def _settle(self) -> None:
        try:
            if self._announcer is None and self._wanted:
                announcer = Announcer([each.address for each in self._interfaces() if _is_told(each)])
                await announcer.start()
                self._announcer = announcer
            while self._announcer and (change := self._next(self._announcer)):
                await self._make(self._announcer, change)
        except BackendError as error:
            self._bus.publish(Noticed(text=str(error), attention=True))

    def _next(self, announcer: Announcer) -> Endpoint | None:
        """One that is told and shall not be, or the other way round."""
        telling = {each for each in self._wanted if announcer.can_tell(each)} - self._refused
        return min(telling.symmetric_difference(announcer.told), default=None)

    async def _make(self, announcer: Announcer, change: Endpoint) -> None:
        if change in announcer.told:
            await announcer.withdraw(change)
            return
        text = {"proto": "rpc", "role": "worker", "arch": platform.machine()}
        try:
            await announcer.announce(f"{socket.gethostname()} {change.port}", RPC, change, text)
        except BackendError:
            self._refused.add(change)
            raise


def _is_told(interface: Interface) -> bool:
    """Never of loopback, of a container's or tunnel's network, or of one that is public."""
    return interface.is_up and not interface.address.is_loopback and not interface.network.is_global and not is_virtual(interface.name)
