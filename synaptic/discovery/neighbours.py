"""
The kernel's table of neighbours: which network card answered for an address of the same link. Read, never filled.

    IP address       HW type     Flags       HW address            Mask     Device
    192.168.1.10     0x1         0x2         02:00:00:00:00:0a     *        eth0

Flags 0x2: the card is known; without it the entry is a question that nobody answered. Linux only: elsewhere it is empty.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from synaptic.endpoint import Endpoint

TABLE = Path("/proc/net/arp")
_MOST_BYTES = 1 << 20
_ETHERNET = 1
_KNOWN = 2

Neighbours = Mapping[IPv4Address, str]


def read_neighbours(table: Path = TABLE) -> Neighbours:
    """The MAC address of each; empty where there is no such table."""
    try:
        with table.open("rb") as file:
            return parse(file.read(_MOST_BYTES).decode(errors="replace"))
    except OSError:
        return {}


def parse(text: str) -> Neighbours:
    found: dict[IPv4Address, str] = {}
    for line in text.splitlines()[1:]:
        with contextlib.suppress(AddressValueError, ValueError):  # a line cut off, or of another form
            address, kind, flags, mac = line.split()[:4]
            if int(kind, 16) == _ETHERNET and int(flags, 16) & _KNOWN and _is_of_one(mac):
                found[IPv4Address(address)] = mac.lower()
    return found


def cards(endpoints: Iterable[Endpoint], neighbours: Neighbours) -> dict[Endpoint, str]:
    """Those whose card is known. Empty for a card that answers for several of their hosts: a repeater, or a router, tells no machine."""
    seen = {endpoint: mac for endpoint in endpoints if (mac := _mac(endpoint, neighbours))}
    hosts: dict[str, set[str]] = {}
    for endpoint, mac in seen.items():
        hosts.setdefault(mac, set()).add(endpoint.host)
    return {endpoint: mac if len(hosts[mac]) == 1 else "" for endpoint, mac in seen.items()}


def _mac(endpoint: Endpoint, neighbours: Neighbours) -> str | None:
    with contextlib.suppress(AddressValueError):
        return neighbours.get(IPv4Address(endpoint.host))
    return None


def _is_of_one(mac: str) -> bool:
    """Neither nobody's nor of many. Raises ValueError for what is no MAC address."""
    octets = bytes(int(each, 16) for each in mac.split(":"))
    return len(octets) == 6 and len(mac) == 17 and any(octets) and not octets[0] & 1
