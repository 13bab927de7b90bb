"""
Our workers at a Consul agent: listed, kept alive there, and taken off the list in the end.

One task asks, one request after the other, and waits for nobody's answer but the agent's. An agent that fails is asked
again after a growing pause, at most a minute; one that was restarted and has forgotten us is told anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address

from synaptic.cluster.backend import Kind
from synaptic.discovery.complaints import Complaints
from synaptic.discovery.consul import Consul
from synaptic.discovery.consul_answers import Access, Service, pause
from synaptic.discovery.description import Description
from synaptic.discovery.reach import reached_at
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, UsageError

_NAMES = {Kind.RPC: "llama-rpc", Kind.DLLAMA: "dllama-worker"}
TTL = 30.0  # seconds; a pass goes there three times as often


class Registration:
    """Needs a running loop from the first `show` on."""

    def __init__(self, access: Access, complaints: Complaints, *, ttl: float = TTL) -> None:
        self._access = access
        self._complaints = complaints
        self._ttl = ttl
        self._workers: Mapping[Endpoint, Description] = {}
        self._addresses: tuple[IPv4Address, ...] = ()
        self._listed: dict[str, Service | None] = {}  # by ID; None: told, and not heard yet
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def show(self, workers: Mapping[Endpoint, Description], addresses: tuple[IPv4Address, ...]) -> None:
        """List exactly these, soon. `addresses`: those of this machine that others may be told."""
        if (workers, addresses) == (self._workers, self._addresses):
            return
        self._workers, self._addresses = workers, addresses
        self._changed.set()
        if self._task is None and workers:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Take all off the list; an agent that does not answer is waited for two seconds."""
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with Consul(self._access) as consul:
                try:
                    await self._keep(consul)
                finally:
                    await asyncio.gather(*(self._withdraw(consul, name) for name in [*self._listed]))
        except UsageError as error:  # certificates that cannot be read
            self._complaints.failed(error)

    async def _keep(self, consul: Consul) -> None:
        failures = 0
        while True:
            self._changed.clear()
            try:
                await self._round(consul)
                failures = 0
                self._complaints.worked()
            except BackendError as error:
                failures += 1
                self._complaints.failed(error)
            await self._wait(pause(failures, random.random()) if failures else self._ttl / 3)

    async def _round(self, consul: Consul) -> None:
        wanted = await self._services()
        for name in [*self._listed.keys() - wanted.keys()]:
            await self._withdraw(consul, name)
        for name, service in wanted.items():
            if self._listed.setdefault(name, None) == service:  # before: cut off halfway, it is taken back all the same
                with contextlib.suppress(BackendError):  # an agent that was restarted has forgotten us
                    await consul.keep_alive(service)
                    continue
            self._listed[name] = None
            await consul.register(service)
            await consul.keep_alive(service)
            self._listed[name] = service

    async def _withdraw(self, consul: Consul, name: str) -> None:
        """Told once: what the agent does not hear, the check's end tells it."""
        try:
            await consul.deregister(name)
        except BackendError as error:
            self._complaints.failed(error)
        self._listed.pop(name, None)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _services(self) -> dict[str, Service]:
        """By ID. A worker that listens everywhere is listed at the address that the agent is spoken to from, if others reach that."""
        services: dict[str, Service] = {}
        for endpoint, description in self._workers.items():
            if at := reached_at(endpoint, self._addresses):
                ours = await _source(self._access) if len(at) > 1 else None
                place = Endpoint(str(ours if ours in at else at[0]), endpoint.port)
                service = Service(_NAMES[description.kind], place, ttl=self._ttl, meta=tuple(description.meta().items()))
                services[service.id] = service
        return services


async def _source(access: Access) -> IPv4Address | None:
    """Where the system would send from; nothing is sent."""
    with contextlib.suppress(OSError):
        found = await asyncio.get_running_loop().getaddrinfo(access.host, access.port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(found[0][4])
            return IPv4Address(probe.getsockname()[0])
    return None
