"""What a look around brought, and in words why it brought so little."""

from __future__ import annotations

import collections
import dataclasses
import errno
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address

from synaptic.cluster.backend import Backend
from synaptic.cluster.handshake import Foreign
from synaptic.discovery.targets import THIS_MACHINE, Area, Targets
from synaptic.results import plural

NO_ROUTE = (errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)
_REASONS = dict.fromkeys(NO_ROUTE, "it has no route there") | {
    errno.EACCES: "a route or firewall rule of it prohibits that",
    errno.EPERM: "a firewall rule of it prohibits that",
    errno.EHOSTUNREACH: "a route of it says unreachable",
    errno.EINVAL: "a route of it is a black hole",
}
_MAC = "allow this terminal under System Settings, Privacy, Local Network"


@dataclasses.dataclass(frozen=True)
class Network:
    """How one network answered, in hosts. `up`: it accepted or refused; `blocked`: this machine would not send."""

    network: str
    name: str
    hosts: int
    up: int
    blocked: int
    silent: int
    open: int


@dataclasses.dataclass(frozen=True)
class Report:
    """`notes` are sentences: what was left out, and which network stayed empty and why."""

    found: tuple[Backend, ...]
    others: tuple[Foreign, ...]
    scanned: int  # addresses
    seconds: float
    networks: tuple[Network, ...]
    notes: tuple[str, ...]


def network_of(area: Area, up: Iterable[int], blocked: Mapping[int, int], opened: Iterable[int]) -> Network:
    hosts = area.hosts()
    counts = [sum(address in hosts for address in addresses) for addresses in (up, blocked, set(opened))]
    return Network(str(area), area.name, area.size, counts[0], counts[1], area.size - counts[0] - counts[1], counts[2])


def notes(
    targets: Targets, networks: Sequence[Network], blocked: Mapping[int, int], ports: Sequence[int], left_alone: Sequence[int]
) -> tuple[str, ...]:
    """`left_alone`: ports of dllama workers, on a system that has no look that does them no harm."""
    sentences = [_note(each, ports) for each in networks] if ports else []
    sentences += (
        [f"not looked at: {_named(left_alone)}; on this system a look ends a dllama worker. try: dllama add HOST"] if left_alone else []
    )
    sentences += [_blocked(blocked)] if blocked else []
    if targets.areas and all(area.name == THIS_MACHINE for area in targets.areas):
        sentences.append("this machine is in no network that could be looked through: only itself was")
    return (*filter(None, sentences), *targets.left_out)


def _note(network: Network, ports: Sequence[int]) -> str:
    if network.open or network.blocked == network.hosts:
        return ""
    where = _named(ports)
    if network.hosts == 1:
        return f"{network.network}: " + (f"nothing on {where}" if network.up else "no answer")
    if not network.up:
        return f"{network.network}: no answer from any of {network.silent} addresses"
    silent = f"; {network.silent} without an answer: off, or a firewall?" if network.silent else ""
    return f"{network.network}: {plural(network.up, 'host')} up, nothing on {where}{silent}"


def _named(ports: Sequence[int]) -> str:
    return f"port {ports[0]}" if len(ports) == 1 else f"ports {', '.join(map(str, ports))}"


def _blocked(blocked: Mapping[int, int]) -> str:
    """One sentence for all: the causes, each with how many addresses and one of them."""
    example = {code: address for address, code in blocked.items()}
    told = [
        f"{count} like {IPv4Address(example[code])} ({_REASONS.get(code) or os.strerror(code).lower()})"
        for code, count in collections.Counter(blocked.values()).most_common()
    ]
    hint = f". {_MAC}" if sys.platform == "darwin" and errno.EHOSTUNREACH in example else ""
    return f"blocked by this machine: {', '.join(told)}{hint}"
