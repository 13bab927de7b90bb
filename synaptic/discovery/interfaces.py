"""What psutil knows of this machine's IPv4 interfaces, as values."""

from __future__ import annotations

import socket
from ipaddress import AddressValueError, IPv4Address, IPv4Network

import psutil

from synaptic.discovery.targets import Interface


def read_interfaces() -> list[Interface]:
    stats = psutil.net_if_stats()
    return [
        Interface(name, IPv4Address(each.address), _network(each.address, each.netmask, each.ptp), name in stats and stats[name].isup)
        for name, addresses in psutil.net_if_addrs().items()
        for each in addresses
        if each.family is socket.AF_INET and each.address
    ]


def _network(address: str, netmask: str | None, peer: str | None) -> IPv4Network:
    try:
        return IPv4Network((address, netmask if netmask and not peer else 32), strict=False)
    except (AddressValueError, ValueError):
        return IPv4Network(address)
