"""
Where to look: this machine's own networks, or the ones that were named. Pure: interfaces in, networks out.

Containers, bridges, tunnels and VPNs are left out unless asked for: what answers there is this machine, or not ours.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network

from synaptic.errors import UsageError
from synaptic.terminal import one_line

UNASKED = 22  # a network larger than this prefix is looked through only when asked for
LARGEST = 16
THIS_MACHINE = "this machine"
_VIRTUAL = re.compile(
    r"(docker|br-|bridge|veth|virbr|vnet|vmnet|vboxnet|tun|tap|utun|ppp|wg|tailscale|zt|nordlynx|ipsec|gre|sit|"
    r"cni|flannel|cali|kube|podman|lxc|lxd|dummy|ifb|awdl|llw)"
)


@dataclasses.dataclass(frozen=True)
class Interface:
    """One IPv4 address of a network interface. `network` is the /32 of the address on a point-to-point link."""

    name: str
    address: IPv4Address
    network: IPv4Network
    is_up: bool = True


@dataclasses.dataclass(frozen=True)
class Area:
    """A network to look through; `name` is its interface, or how it came to be named."""

    network: IPv4Network
    name: str

    def __str__(self) -> str:
        return str(self.network.network_address if self.network.prefixlen == 32 else self.network)

    @property
    def size(self) -> int:
        return self.network.num_addresses - (2 if self.network.prefixlen < 31 else 0)

    def hosts(self) -> range:
        """Addresses as numbers: all but the first and the last, which name the network and everyone in it."""
        first, last = int(self.network.network_address), int(self.network.broadcast_address)
        return range(first + 1, last) if self.network.prefixlen < 31 else range(first, last + 1)


@dataclasses.dataclass(frozen=True)
class Targets:
    """`own` are this machine's addresses, 127.0.0.1 first. `left_out` are sentences. `question` must be answered with yes first."""

    areas: tuple[Area, ...]
    own: tuple[IPv4Address, ...] = ()
    left_out: tuple[str, ...] = ()
    question: str | None = None

    @property
    def size(self) -> int:
        return sum(area.size for area in self.areas)

    def contains(self, address: IPv4Address) -> bool:
        return any(address in area.network for area in self.areas)


@dataclasses.dataclass(frozen=True)
class Subnets:
    """What `--subnet` takes: networks or single addresses, comma-separated."""

    networks: tuple[IPv4Network, ...]

    @classmethod
    def parse(cls, text: str) -> Subnets:
        """Raises UsageError with the reason."""
        return cls(tuple(dict.fromkeys(_network(part) for part in text.split(","))))


def own_networks(interfaces: Sequence[Interface], *, all_interfaces: bool = False) -> Targets:
    """This machine and the networks it is in."""
    up = [each for each in interfaces if each.is_up]
    chosen = [each for each in up if all_interfaces or not is_virtual(each.name)]
    areas: list[Area] = []
    left_out = [_explain_virtual(sorted({each.name for each in up if each not in chosen}))] if len(chosen) < len(up) else []
    for each in sorted(chosen, key=lambda each: not each.address.is_loopback):
        area, remark = _area_of(each)
        left_out += [remark] if remark else []
        if not any(area.network.subnet_of(other.network) for other in areas):
            areas = [other for other in areas if not other.network.subnet_of(area.network)] + [area]
    return Targets(tuple(areas), _own(up), tuple(left_out))


def named_networks(subnets: Subnets, interfaces: Sequence[Interface]) -> Targets:
    """The networks of `--subnet`. Raises UsageError for what no one should look through."""
    networks = [one for one in subnets.networks if not any(one != other and one.subnet_of(other) for other in subnets.networks)]
    for network in networks:
        if network.prefixlen < LARGEST:
            raise UsageError(f"{network} holds {network.num_addresses} addresses", hint=f"at most a /{LARGEST} is looked through")
    doubts = [doubt for network in networks if (doubt := _doubt(network, interfaces))]
    areas = tuple(Area(network, "--subnet") for network in networks)
    return Targets(areas, _own(interfaces), question=f"{'; '.join(doubts)}. look there?" if doubts else None)


def is_virtual(name: str) -> bool:
    return bool(_VIRTUAL.match(name))


def numbers(areas: Sequence[Area]) -> Iterator[int]:
    for area in areas:
        yield from area.hosts()


def _area_of(interface: Interface) -> tuple[Area, str]:
    """The network behind an interface, made smaller where it is too large or not ours, and a sentence saying so."""
    only_it = Area(IPv4Network(interface.address), THIS_MACHINE)
    network = interface.network
    if interface.address.is_loopback:
        return only_it, ""
    if network.is_global:
        return only_it, f"{interface.name}: {network} is public and was left out (--subnet {network} looks there)"
    if network.prefixlen < UNASKED:
        near = IPv4Network((interface.address, UNASKED), strict=False)
        return Area(near, interface.name), f"{interface.name}: of {network} only {near} was looked through (--subnet names more)"
    return Area(network, interface.name), ""


def _explain_virtual(names: Sequence[str]) -> str:
    return f"left out: {', '.join(one_line(name, 20) for name in names)} (--all-interfaces looks there too)"


def _own(interfaces: Sequence[Interface]) -> tuple[IPv4Address, ...]:
    return tuple(dict.fromkeys(sorted((each.address for each in interfaces), key=lambda address: not address.is_loopback)))


def _doubt(network: IPv4Network, interfaces: Sequence[Interface]) -> str:
    doubts: list[str] = []
    if network.is_global:
        doubts.append("is public")
    elif not network.is_loopback and not any(network.subnet_of(each.network) for each in interfaces if each.is_up):
        doubts.append("is no network of this machine")
    if network.prefixlen < UNASKED:
        doubts.append(f"holds {network.num_addresses} addresses")
    return f"{network} {' and '.join(doubts)}" if doubts else ""


def _network(text: str) -> IPv4Network:
    text = text.strip()
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise UsageError(f"not a network: {one_line(text, 60) or '(empty)'}", hint="write it as 192.168.1.0/24") from None
    if not isinstance(network, IPv4Network):
        raise UsageError(
            f"{network}: an IPv6 network is too large to look through", hint="machines that speak IPv6 are found by zeroconf: discover"
        )
    if network.is_multicast or network.is_unspecified or network.network_address in IPv4Network("0.0.0.0/8") or network.is_reserved:
        raise UsageError(f"{network}: no machine has such an address", hint="write it as 192.168.1.0/24")
    return network
