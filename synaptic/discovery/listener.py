"""Which rpc-servers turn up on the link, by zeroconf, for as long as it is listened to. Names and addresses are foreign."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from synaptic.discovery.mdns import MOST_SERVICES
from synaptic.discovery.reach import is_near
from synaptic.endpoint import Endpoint

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

_WITHIN = 3.0  # seconds for the address and port of a name


class Listener:
    """`heard` is called with each endpoint, maybe more than once."""

    def __init__(self, zeroconf: AsyncZeroconf, service_type: str, heard: Callable[[Endpoint], None]) -> None:
        self._zeroconf = zeroconf
        self._type = service_type
        self._heard = heard
        self._asking: dict[str, asyncio.Task[None]] = {}  # by name
        self._browser: AsyncServiceBrowser | None = None

    def start(self) -> None:
        from zeroconf.asyncio import AsyncServiceBrowser

        self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, [self._type], handlers=[self._change])

    async def close(self) -> None:
        if self._browser:
            await self._browser.async_cancel()
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        from zeroconf import BadTypeInNameException, ServiceStateChange
        from zeroconf.asyncio import AsyncServiceInfo

        if state_change is ServiceStateChange.Removed or name in self._asking or len(self._asking) >= MOST_SERVICES:
            return
        with contextlib.suppress(BadTypeInNameException):
            task = self._asking[name] = asyncio.create_task(self._ask(zeroconf, AsyncServiceInfo(service_type, name)))
            task.add_done_callback(lambda _: self._asking.pop(name, None))

    async def _ask(self, zeroconf: Zeroconf, info: AsyncServiceInfo) -> None:
        from zeroconf import IPVersion

        if not await info.async_request(zeroconf, _WITHIN * 1000) or not info.port:
            return
        addresses = [each for each in info.ip_addresses_by_version(IPVersion.V4Only) if isinstance(each, IPv4Address)]
        near = [endpoint for each in addresses if is_near(endpoint := Endpoint(str(each), info.port))]
        if near:  # one machine, however many addresses it has
            self._heard(near[0])
