"""Telling the link, by zeroconf, what runs on this machine. Nothing is told of an address that the caller did not give."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from synaptic.discovery.mdns import open_zeroconf
from synaptic.discovery.reach import reached_at
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, os_reason

if TYPE_CHECKING:
    from zeroconf import ServiceInfo
    from zeroconf.asyncio import AsyncZeroconf

_UNFIT = re.compile(r"[^A-Za-z0-9 _()-]+")
_MOST_TEXT = 1300  # bytes: one packet


class Announcer:
    """`interfaces`: this machine's addresses that may be told, and that are spoken on."""

    def __init__(self, interfaces: Sequence[IPv4Address]) -> None:
        self._interfaces = tuple(interfaces)
        self._zeroconf: AsyncZeroconf | None = None
        self._told: dict[Endpoint, ServiceInfo] = {}

    @property
    def told(self) -> tuple[Endpoint, ...]:
        return tuple(self._told)

    async def start(self) -> AsyncZeroconf:
        """What it speaks through, for whoever listens too. Raises BackendError where there is no multicast."""
        try:
            self._zeroconf = open_zeroconf(self._interfaces)
        except OSError as error:
            raise BackendError(f"cannot announce by zeroconf: {os_reason(error)}") from error
        await self._zeroconf.zeroconf.async_wait_for_start()
        return self._zeroconf

    def can_tell(self, endpoint: Endpoint) -> bool:
        return bool(reached_at(endpoint, self._interfaces))

    async def announce(self, name: str, service_type: str, endpoint: Endpoint, text: Mapping[str, str]) -> str:
        """The name it got: another one where that was taken. Takes two seconds. Raises BackendError."""
        from zeroconf import Error

        assert self._zeroconf
        label = _UNFIT.sub("-", name).strip()[:50] or "worker"
        info = self._service(f"{label}.{service_type}", service_type, endpoint, text)
        try:
            self._told[endpoint] = info  # before: cut off halfway, it is taken back all the same
            await (await self._zeroconf.async_register_service(info, allow_name_change=True))
        except (Error, OSError) as error:
            self._told.pop(endpoint, None)
            raise BackendError(f"cannot announce {endpoint} by zeroconf") from error
        return info.name.removesuffix(f".{service_type}")

    async def update(self, endpoint: Endpoint, text: Mapping[str, str]) -> None:
        """Say something else of what is told already, under its name. Raises BackendError."""
        assert self._zeroconf
        before = self._told[endpoint]
        info = self._told[endpoint] = self._service(before.name, before.type, endpoint, text)
        try:
            await (await self._zeroconf.async_update_service(info))
        except OSError as error:
            raise BackendError(f"cannot announce {endpoint} by zeroconf") from error

    async def withdraw(self, endpoint: Endpoint) -> None:
        if (info := self._told.pop(endpoint, None)) and self._zeroconf:
            with contextlib.suppress(KeyError):  # not registered yet
                await (await self._zeroconf.async_unregister_service(info))

    async def close(self) -> None:
        """Say goodbye for all; also when cancelled meanwhile."""
        zeroconf, self._zeroconf = self._zeroconf, None
        self._told.clear()
        if not zeroconf:
            return
        closing = asyncio.create_task(zeroconf.async_close())
        try:
            await asyncio.shield(closing)
        finally:
            await asyncio.wait([closing])

    def _service(self, name: str, service_type: str, endpoint: Endpoint, text: Mapping[str, str]) -> ServiceInfo:
        from zeroconf import ServiceInfo

        if not (addresses := reached_at(endpoint, self._interfaces)):
            raise BackendError(f"{endpoint} is at no address of this machine that others are told of")
        record = {"txtvers": "1", **text}
        if sum(len(key.encode()) + len(value.encode()) + 2 for key, value in record.items()) > _MOST_TEXT:
            raise BackendError(f"too much to say of {endpoint}: {_MOST_TEXT} bytes is the most")
        server = f"{service_type.split('.')[0].strip('_')}-{'-'.join(map(str, addresses[0].packed))}-{endpoint.port}.local."
        packed = [address.packed for address in addresses]
        return ServiceInfo(service_type, name, port=endpoint.port, addresses=packed, properties=record, server=server)
