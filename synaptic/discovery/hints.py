"""What others say runs here or there. Hearsay: each endpoint is asked itself before it counts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address

from synaptic.cluster.backend import Kind
from synaptic.discovery.targets import Interface
from synaptic.endpoint import Endpoint


@dataclasses.dataclass(frozen=True)
class Hint:
    """`kind` is what the source claims, `source` one of discovery.sources, `name` what it calls this one: foreign, on one line."""

    endpoint: Endpoint
    kind: Kind
    source: str
    name: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Hints:
    """`notes`: a sentence for each source that could not be asked, or said something odd. `far`: not to be gone to unasked."""

    found: tuple[Hint, ...] = ()
    notes: tuple[str, ...] = ()
    far: tuple[Hint, ...] = ()

    def __add__(self, other: Hints) -> Hints:
        return Hints(self.found + other.found, (*dict.fromkeys(self.notes + other.notes),), self.far + other.far)


async def hints(
    variables: Mapping[str, str], kinds: Collection[Kind], interfaces: Sequence[Interface] = (), own: Sequence[Interface] = ()
) -> Hints:
    """Those of these kinds, from every source that is there; on these interfaces. Never raises for what a source does.

    `own`: all interfaces of this machine. What is in none of their networks is far.
    """
    from synaptic.discovery.mdns import ask_zeroconf

    zeroconf = asyncio.create_task(ask_zeroconf(interfaces, kinds))
    try:
        told = await _consul(variables, kinds) + await zeroconf
    finally:
        zeroconf.cancel()
        await asyncio.wait([zeroconf])
    far = tuple(hint for hint in told.found if is_far(hint.endpoint, own))
    return Hints(tuple(hint for hint in told.found if hint not in far), told.notes, (*dict.fromkeys(told.far + far),))


def is_public(endpoint: Endpoint) -> bool:
    """An IPv4 address out in the world, where nobody else may send us."""
    with contextlib.suppress(AddressValueError):
        address = IPv4Address(endpoint.host)
        return address.is_global and not (address.is_multicast or address.is_reserved)
    return False


def is_far(endpoint: Endpoint, own: Sequence[Interface]) -> bool:
    """A public IPv4 address, or one of a network that this machine is not in. Those of IPv6 are of the same link or site."""
    with contextlib.suppress(AddressValueError):
        address = IPv4Address(endpoint.host)
        return address.is_global or not (address.is_loopback or any(address in each.network for each in own if each.is_up))
    return False


async def _consul(variables: Mapping[str, str], kinds: Collection[Kind]) -> Hints:
    if not variables.get("CONSUL_HTTP_ADDR"):
        return Hints()
    from synaptic.discovery.consul import ask_consul

    return await ask_consul(variables, kinds)
