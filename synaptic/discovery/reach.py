"""Which addresses of this machine others may be told, and which of theirs we would go to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address

from synaptic.discovery.targets import Interface, is_virtual
from synaptic.endpoint import Endpoint


def told(interfaces: Iterable[Interface]) -> list[IPv4Address]:
    """Never of loopback, of a container's or tunnel's network, or of one that is public."""
    return [each.address for each in interfaces if _is_told(each)]


def reached_at(endpoint: Endpoint, addresses: Sequence[IPv4Address]) -> tuple[IPv4Address, ...]:
    """Those of `addresses` that it listens on."""
    try:
        address = IPv4Address(endpoint.host)
    except AddressValueError:
        return ()
    return tuple(addresses) if address.is_unspecified else tuple(each for each in addresses if each == address)


def is_near(endpoint: Endpoint) -> bool:
    """A private IPv4 address: nobody else may send us out to the world."""
    with contextlib.suppress(AddressValueError):
        address = IPv4Address(endpoint.host)
        return not (address.is_global or address.is_multicast or address.is_reserved or int(address) >> 24 == 0)
    return False


def _is_told(interface: Interface) -> bool:
    return interface.is_up and not interface.address.is_loopback and not interface.network.is_global and not is_virtual(interface.name)
