"""
Zeroconf (multicast DNS): what the machines of the same link say they run. Nobody is believed: see hints.py.

Only the interfaces that the caller names are spoken on, over IPv4 and where they have it over IPv6. Names and texts are
foreign; an address that is public, or nobody's, is told and not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from synaptic.cluster.backend import Kind
from synaptic.discovery.hint import Hint, Hints, is_public
from synaptic.discovery.interfaces import Link, read_links
from synaptic.discovery.near import Address, nearest
from synaptic.discovery.targets import Area, Interface, Targets
from synaptic.endpoint import Endpoint
from synaptic.errors import os_reason
from synaptic.results import plural
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

# service type → kind; the first that claims an endpoint counts, and a dllama worker ends when it is asked as anything else
TYPES = {
    "_dllama._tcp.local.": Kind.DLLAMA,
    "_llama-rpc._tcp.local.": Kind.RPC,
    "_llama-head._tcp.local.": Kind.OPENAI,
    "_vllm-node._tcp.local.": Kind.OPENAI,
}
WITHIN = 0.8  # seconds, while the sweep runs: who is there answers in half of that
MOST_SERVICES = 256
_MOST_PAIRS = 64
_MOST_NAMED = 4  # in one note


@dataclasses.dataclass(frozen=True)
class Service:
    """What was said; `name` and `text` are foreign but visible, on one line and short."""

    name: str
    kind: Kind
    addresses: tuple[Address, ...]
    port: int
    text: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Browsed:
    services: tuple[Service, ...] = ()
    left_out: int = 0  # beyond MOST_SERVICES
    trouble: str = ""  # why nobody could be asked


def spoken_on(targets: Targets, interfaces: Sequence[Interface]) -> list[Interface]:
    """The interfaces whose networks are looked through: no container, bridge or tunnel that was left out, nothing else."""
    return [each for each in interfaces if each.is_up and any(_covers(area, each) for area in targets.areas)]


async def ask_zeroconf(interfaces: Sequence[Interface], kinds: Collection[Kind], *, within: float = WITHIN) -> Hints:
    """What answers on these interfaces within so many seconds. Never raises for what it says; a note tells what was odd."""
    if not (types := [name for name, kind in TYPES.items() if kind in kinds]):
        return Hints()
    links = await asyncio.to_thread(read_links, {each.name for each in interfaces})
    browsed = await browse([each.address for each in interfaces], types, within=within, links=links)
    notes = [f"went without zeroconf: {browsed.trouble}"] if browsed.trouble else []
    notes += [f"zeroconf: left out {plural(browsed.left_out, 'service')} beyond {MOST_SERVICES}"] if browsed.left_out else []
    found: list[Hint] = []
    far: list[Hint] = []
    refused: list[str] = []
    for service in sorted(browsed.services, key=lambda service: service.kind is not Kind.DLLAMA):
        if service.port and (best := nearest(service.addresses, interfaces, links)):
            found.append(Hint(Endpoint(str(best), service.port), service.kind, "zeroconf", service.name, service.text))
        elif public := [each for each in _endpoints(service) if is_public(each)]:
            far.append(Hint(public[0], service.kind, "zeroconf", service.name))
        else:
            refused.append(service.name)
    if refused:
        names = ", ".join(refused[:_MOST_NAMED]) + (f" and {len(refused) - _MOST_NAMED} more" if len(refused) > _MOST_NAMED else "")
        notes.append(f"zeroconf: not used, for they are at no address and port that could be used: {names}")
    return Hints(tuple(dict.fromkeys(found)), tuple(notes), tuple(dict.fromkeys(far)))


async def browse(addresses: Sequence[IPv4Address], types: Sequence[str], *, within: float = WITHIN, links: Sequence[Link] = ()) -> Browsed:
    """Who answers on the interfaces with these addresses, and over IPv6 on these links; their sockets are closed by the end."""
    from zeroconf.asyncio import AsyncServiceBrowser

    try:
        opened = [open_zeroconf(addresses), *_open_ipv6(links)]
    except OSError as error:
        return Browsed(trouble=_why(error))
    heard = _Heard(time.monotonic() + within)
    try:
        browsers = [AsyncServiceBrowser(each.zeroconf, list(types), handlers=[heard.change]) for each in opened]
        await asyncio.sleep(within)
        for browser in browsers:
            await browser.async_cancel()
        return await heard.end()
    finally:
        await heard.end()
        for each in opened:
            await each.async_close()


def open_zeroconf(addresses: Sequence[IPv4Address]) -> AsyncZeroconf:
    """Spoken on these interfaces alone. Raises OSError when there is none, or none that may be used so."""
    from zeroconf import IPVersion
    from zeroconf.asyncio import AsyncZeroconf

    if not (usable := [str(address) for address in addresses if _is_usable(address)]):
        raise OSError(0, "no interface to use")
    return AsyncZeroconf(interfaces=usable, ip_version=IPVersion.V4Only)


def _open_ipv6(links: Sequence[Link]) -> list[AsyncZeroconf]:
    """Apart from that of IPv4, so that a machine that has none, or half of it, loses nothing."""
    from zeroconf import IPVersion
    from zeroconf.asyncio import AsyncZeroconf

    numbers = [each.number for each in links if not each.is_loopback]  # that one takes no multicast of IPv6
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: an interface that went meanwhile
        return [AsyncZeroconf(interfaces=list(numbers), ip_version=IPVersion.V6Only)] if numbers else []
    return []


class _Heard:
    """Those that came and have not gone; each is asked for its address and port until `deadline`."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._left_out = 0
        self._asked: dict[tuple[str, int], tuple[AsyncServiceInfo, asyncio.Task[bool]]] = {}  # by name, and by whom of us heard it

    def change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        from zeroconf import BadTypeInNameException, ServiceStateChange
        from zeroconf.asyncio import AsyncServiceInfo

        key = name, id(zeroconf)
        if state_change is ServiceStateChange.Removed:
            if gone := self._asked.pop(key, None):
                gone[1].cancel()
        elif key not in self._asked and len(self._asked) >= MOST_SERVICES:
            self._left_out += 1
        elif key not in self._asked:
            with contextlib.suppress(BadTypeInNameException):
                info = AsyncServiceInfo(service_type, name)
                patience = max(self._deadline - time.monotonic(), 0.0) * 1000
                self._asked[key] = info, asyncio.create_task(info.async_request(zeroconf, patience))

    async def end(self) -> Browsed:
        tasks = [task for _, task in self._asked.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        services: dict[tuple[str, Kind, int], Service] = {}
        for service in (_service(info) for info, _ in self._asked.values() if info.port is not None):
            same = services.setdefault((service.name, service.kind, service.port), service)
            merged = dict.fromkeys(same.addresses + service.addresses)
            services[service.name, service.kind, service.port] = dataclasses.replace(same, addresses=tuple(merged))
        return Browsed(tuple(services.values()), self._left_out)


def _service(info: AsyncServiceInfo) -> Service:
    from zeroconf import IPVersion

    addresses: list[Address] = list(info.ip_addresses_by_version(IPVersion.All))
    name = one_line(info.name.removesuffix(f".{info.type}"), 63)
    return Service(name, TYPES[info.type], tuple(addresses[:16]), info.port or 0, tuple(pairs(info.text or b"")))


def _endpoints(service: Service) -> list[Endpoint]:
    return [Endpoint(str(address), service.port) for address in service.addresses if service.port]


def pairs(text: bytes) -> Iterator[tuple[str, str]]:
    """`key=value`, each behind its length in one byte (RFC 6763)."""
    start = pairs = 0
    while start < len(text) and pairs < _MOST_PAIRS:
        end = start + 1 + text[start]
        key, _, value = text[start + 1 : end].partition(b"=")
        if key:
            yield one_line(key.decode(errors="replace"), 255), one_line(value.decode(errors="replace"), 255)
        start, pairs = end, pairs + 1


def _covers(area: Area, interface: Interface) -> bool:
    if area.name == "--subnet":
        return area.network.overlaps(interface.network)
    return interface.address in area.network


def _is_usable(address: IPv4Address) -> bool:
    """One address that has gone meanwhile would spoil all others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.bind((str(address), 0))
        return True
    return False


def _why(error: OSError) -> str:
    return os_reason(error)
