"""What psutil knows of this machine's interfaces and addresses, as values."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Collection
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

import psutil

from synaptic.discovery.sweep import Host, host_of
from synaptic.discovery.targets import Interface


def read_interfaces() -> list[Interface]:
    stats = psutil.net_if_stats()
    return [
        Interface(name, IPv4Address(each.address), _network(each.address, each.netmask, each.ptp), name in stats and stats[name].isup)
        for name, addresses in psutil.net_if_addrs().items()
        for each in addresses
        if each.family is socket.AF_INET and each.address
    ]


@dataclasses.dataclass(frozen=True)
class Link:
    """An interface that speaks IPv6: its name and number here, and the networks it is in."""

    name: str
    number: int
    networks: tuple[IPv6Network, ...]

    @property
    def is_loopback(self) -> bool:
        return any(network.is_loopback for network in self.networks)


def read_links(names: Collection[str]) -> list[Link]:
    """Those of these interfaces that speak IPv6."""
    links: list[Link] = []
    for name, addresses in psutil.net_if_addrs().items():
        networks = [_ipv6_network(each.address, each.netmask) for each in addresses if each.family is socket.AF_INET6]
        if name in names and networks:
            with contextlib.suppress(OSError):  # it went meanwhile
                links.append(Link(name, socket.if_nametoindex(name), tuple(networks)))
    return links


def own_addresses() -> set[Host]:
    """Of IPv4 and of IPv6."""
    found = (each for addresses in psutil.net_if_addrs().values() for each in addresses)
    hosts = (host_of(each.address) for each in found if each.family in (socket.AF_INET, socket.AF_INET6))
    return {host for host in hosts if host is not None}


def _network(address: str, netmask: str | None, peer: str | None) -> IPv4Network:
    try:
        return IPv4Network((address, netmask if netmask and not peer else 32), strict=False)
    except (AddressValueError, ValueError):
        return IPv4Network(address)


def _ipv6_network(address: str, netmask: str | None) -> IPv6Network:
    bare = int(IPv6Address(address.partition("%")[0]))
    return IPv6Network((bare, int(IPv6Address(netmask)).bit_count() if netmask else 128), strict=False)
