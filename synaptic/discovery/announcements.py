"""Our workers on the link, by zeroconf; and, on the same sockets, those of others that turn up there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address

from synaptic.cluster.backend import Kind
from synaptic.discovery.announcer import Announcer
from synaptic.discovery.complaints import Complaints
from synaptic.discovery.description import Description
from synaptic.discovery.listener import Listener
from synaptic.discovery.newcomers import Newcomers
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError

RPC, DLLAMA = "_llama-rpc._tcp.local.", "_dllama._tcp.local."
_TYPES = {Kind.RPC: RPC, Kind.DLLAMA: DLLAMA}
AT_FIRST = 3.0  # seconds: what is heard by then was there before we listened


class Announcements:
    """Not a word until the first `show`. One task at most is at work; what is wanted meanwhile is done after it."""

    def __init__(self, complaints: Complaints, newcomers: Newcomers, *, at_first: float = AT_FIRST) -> None:
        self._complaints = complaints
        self._newcomers = newcomers
        self._at_first = at_first
        self._addresses: tuple[IPv4Address, ...] = ()
        self._wanted: Mapping[Endpoint, Description] | None = None
        self._said: dict[Endpoint, Description] = {}
        self._refused: set[Endpoint] = set()
        self._announcer: Announcer | None = None
        self._listeners: list[Listener] = []
        self._work: asyncio.Task[None] | None = None

    def show(self, workers: Mapping[Endpoint, Description] | None, addresses: tuple[IPv4Address, ...]) -> None:
        """Tell of exactly these, in a while; None: leave the link. `addresses`: those of this machine that are spoken on."""
        self._wanted, self._addresses = workers, addresses
        self._refused &= (workers or {}).keys()
        is_idle = self._work is None or self._work.done()
        if is_idle and (workers is not None or self._announcer):
            self._work = asyncio.create_task(self._settle())

    async def settled(self) -> None:
        """Return once everything that is wanted is told."""
        if self._work:
            await asyncio.wait([self._work])

    async def close(self) -> None:
        """Say goodbye."""
        if self._work:
            self._work.cancel()
            await asyncio.wait([self._work])
        await self._leave()

    async def _settle(self) -> None:
        try:
            while self._wanted is not None or self._announcer:
                if self._wanted is None:
                    await self._leave()
                elif change := self._next(announcer := self._announcer or await self._enter()):
                    await self._make(announcer, change)
                else:
                    break
        except BackendError as error:
            self._complaints.failed(error)

    async def _enter(self) -> Announcer:
        announcer = self._announcer = Announcer(self._addresses)  # before: cut off halfway, its sockets are closed all the same
        try:
            zeroconf = await announcer.start()
        except BackendError:
            self._announcer = None
            raise
        news_from = asyncio.get_running_loop().time() + self._at_first

        def listening(kind: Kind) -> Listener:
            def heard(endpoint: Endpoint) -> None:
                is_news = asyncio.get_running_loop().time() > news_from
                self._newcomers.heard("zeroconf", [endpoint], is_news=is_news, kind=kind)

            return Listener(zeroconf, _TYPES[kind], heard)

        self._listeners = [listening(kind) for kind in _TYPES]
        for listener in self._listeners:
            listener.start()
        return announcer

    async def _leave(self) -> None:
        listeners, self._listeners = self._listeners, []
        announcer, self._announcer = self._announcer, None
        self._said.clear()
        try:
            await asyncio.gather(*(listener.close() for listener in listeners))
        finally:
            if announcer:
                await announcer.close()

    def _next(self, announcer: Announcer) -> Endpoint | None:
        """One that is told and shall not be, or the other way round, or of which other things are known by now."""
        wanted = {each: said for each, said in (self._wanted or {}).items() if announcer.can_tell(each) and each not in self._refused}
        return min((each for each in {*wanted, *announcer.told} if wanted.get(each) != self._said.get(each)), default=None)

    async def _make(self, announcer: Announcer, change: Endpoint) -> None:
        description = (self._wanted or {}).get(change)
        if description is None:
            await announcer.withdraw(change)
            self._said.pop(change, None)
            return
        try:
            if change in announcer.told:
                await announcer.update(change, description.text())
            else:
                await announcer.announce(f"{socket.gethostname()} {change.port}", _TYPES[description.kind], change, description.text())
        except BackendError as error:
            self._complaints.failed(error)
            self._refused.add(change)
            self._said.pop(change, None)
        else:
            self._complaints.worked()
            self._said[change] = description
