"""
What others are told of this machine, and what it is told of them, while a shell lives.

    workers that run ─▶ those that others reach, described ─┬▶ Announcements ─▶ zeroconf
                                                            └▶ Registration ─▶ Consul
    zeroconf, Consul ─▶ Newcomers ─▶ a worker that turns up there is proposed

By zeroconf nobody is told or heard unless the user asked for it; Consul is asked where CONSUL_HTTP_ADDR names it. Of
coordinators there is nothing to tell: they listen on 127.0.0.1 alone, and what others cannot reach they are not told of.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from synaptic.cluster.pool import Pool
from synaptic.discovery.announcements import Announcements
from synaptic.discovery.complaints import Complaints
from synaptic.discovery.consul_answers import Access
from synaptic.discovery.description import Description, describe, describe_dllama
from synaptic.discovery.interfaces import read_interfaces
from synaptic.discovery.newcomers import Newcomers
from synaptic.discovery.reach import reached_at, told
from synaptic.discovery.targets import Interface
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.events import BackendChecked, Bus, ChildChanged, Event

if TYPE_CHECKING:
    from synaptic.discovery.registration import Registration

SELDOM = 3.0  # seconds at least between two looks at what is known of the workers

Running = Callable[[], Mapping[Endpoint, int] | None]  # the workers of this machine and their pids; None: others shall not be told


class Presence:
    """
    Waits for nobody, and what fails is told once. Needs a running loop from the first `look` on. `dllama`: the workers
    for distributed-llama, when there may be any.
    """

    def __init__(
        self,
        bus: Bus,
        pool: Pool,
        running: Running,
        variables: Mapping[str, str],
        *,
        dllama: Pool | None = None,
        interfaces: Callable[[], Iterable[Interface]] = read_interfaces,
        seldom: float = SELDOM,
    ) -> None:
        self._bus = bus
        self._pool = pool
        self._dllama = dllama
        self._running = running
        self._variables = variables
        self._interfaces = interfaces
        self._seldom = seldom
        self._described: dict[Endpoint, Description] = {}
        self._newcomers = Newcomers(bus, self._is_known)
        self._announcements = Announcements(Complaints(bus), self._newcomers)
        self._registration: Registration | None = None
        self._consul: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._is_closed = False

    def look(self) -> None:
        """A worker may have come or gone: others are told in a while."""
        if self._consul is None and not self._is_closed:
            self._consul = asyncio.create_task(self._follow_consul())
            self._bus.tap(self._hear)
        self._tell(lambda endpoint, pid: self._described.get(endpoint) or self._describe(endpoint, pid))

    async def settled(self) -> None:
        """Return once the link has heard everything."""
        await self._announcements.settled()

    async def close(self) -> None:
        """Say goodbye everywhere; also when cancelled meanwhile."""
        if self._is_closed:
            return
        self._is_closed = True
        closing = asyncio.create_task(self._say_goodbye())
        try:
            await asyncio.shield(closing)
        finally:
            await asyncio.wait([closing])

    async def _say_goodbye(self) -> None:
        if self._later:
            self._later.cancel()
        if self._consul:
            self._bus.untap(self._hear)
            self._consul.cancel()
            await asyncio.wait([self._consul])
        await asyncio.gather(self._announcements.close(), *([self._registration.close()] if self._registration else []))

    def _hear(self, event: Event) -> None:
        """Workers change their state together, and often: one look for all."""
        is_ours = isinstance(event, BackendChecked) or (isinstance(event, ChildChanged) and event.child.startswith("worker "))
        if is_ours and self._later is None and not self._is_closed:
            self._later = asyncio.get_running_loop().call_later(self._seldom, self._look_again)

    def _look_again(self) -> None:
        self._later = None
        self._tell(self._describe)

    def _describe(self, endpoint: Endpoint, pid: int) -> Description:
        if self._dllama and (worker := self._dllama.record(endpoint)):
            return describe_dllama(worker, pid)
        return describe(self._pool.record(endpoint), pid)

    def _tell(self, description: Callable[[Endpoint, int], Description]) -> None:
        if self._is_closed:
            return
        running, addresses = self._running(), tuple(told(self._interfaces()))
        reached = [(endpoint, pid) for endpoint, pid in (running or {}).items() if reached_at(endpoint, addresses)]
        self._described = {endpoint: description(endpoint, pid) for endpoint, pid in reached}
        self._announcements.show(None if running is None else self._described, addresses)
        if self._registration:
            self._registration.show(self._described, addresses)

    async def _follow_consul(self) -> None:
        complaints = Complaints(self._bus)
        try:
            access = Access.of(self._variables)
        except UsageError as error:
            complaints.failed(error)
            return
        if access is None:
            return
        await asyncio.to_thread(importlib.import_module, "synaptic.discovery.consul")  # 0.2 s, that the prompt does not wait for
        from synaptic.discovery.registration import Registration

        self._registration = Registration(access, complaints)
        self.look()
        await self._newcomers.follow(access, complaints)

    def _is_known(self, endpoint: Endpoint) -> bool:
        """Also when it is ours, which listens everywhere, by an address of this machine."""
        pools = [self._pool, *([self._dllama] if self._dllama else [])]
        if any(pool.record(endpoint) for pool in pools):
            return True
        is_everywhere = any(pool.record(Endpoint("0.0.0.0", endpoint.port)) for pool in pools)
        return is_everywhere and endpoint.host in {str(each.address) for each in self._interfaces()}
