"""Which of the addresses that a stranger names is used: one nearby, of IPv4 where there is one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from synaptic.discovery.interfaces import Link
from synaptic.discovery.targets import Interface

Address = IPv4Address | IPv6Address
_PRIVATE = IPv6Network("fc00::/7")


def nearest(addresses: Iterable[Address], interfaces: Sequence[Interface], links: Sequence[Link]) -> Address | None:
    """None: all of them are out in the world, or nobody's."""
    known = list(addresses)
    near = [address for address in known if isinstance(address, IPv4Address) and _is_near(address, interfaces)]
    if near:
        return min(near, key=lambda address: not any(address in each.network for each in interfaces))
    named = [_with_link(address, links) for address in known if isinstance(address, IPv6Address)]
    usable = [address for address in named if address and _is_near_ipv6(address, links)]
    return min(usable, key=lambda address: address.is_link_local, default=None)


def _is_near(address: IPv4Address, interfaces: Sequence[Interface]) -> bool:
    """Nobody else may send us out to the world."""
    if address.is_multicast or address.is_reserved or int(address) >> 24 == 0:
        return False
    return not address.is_global or any(address in each.network for each in interfaces)


def _is_near_ipv6(address: IPv6Address, links: Sequence[Link]) -> bool:
    if address.is_multicast or address.is_unspecified or address.ipv4_mapped or address.sixtofour or address.teredo:
        return False
    is_on_link = any(address in network for each in links for network in each.networks)
    return address.is_link_local or address.is_loopback or is_on_link or address in _PRIVATE


def _with_link(address: IPv6Address, links: Sequence[Link]) -> IPv6Address | None:
    """A link-local address means nothing without its interface: the one it was heard on, by name, or the only one there is."""
    if not address.is_link_local:
        return IPv6Address(int(address))
    names = {str(each.number): each.name for each in links} | {each.name: each.name for each in links}
    real = [each.name for each in links if not each.is_loopback]
    name = names.get(address.scope_id) if address.scope_id else real[0] if len(real) == 1 else None
    return IPv6Address(f"{IPv6Address(int(address))}%{name}") if name else None
