"""discover: find workers and servers on the network, and add the workers that proved to be some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from synaptic.cluster.backend import Kind
from synaptic.commands.looking import Looking
from synaptic.commands.registry import registry
from synaptic.discovery.ports import AMBIGUOUS, PORTS, WITHIN
from synaptic.discovery.targets import Subnets
from synaptic.errors import UsageError
from synaptic.results import Lines, Note

if TYPE_CHECKING:
    from synaptic.session import Session


@registry.command("rpc discover", group="workers")
async def rpc_discover(
    session: Session,
    *,
    subnet: Subnets | None = None,
    port: int | None = None,
    timeout: float = WITHIN,
    all_interfaces: bool = False,
) -> Lines | Note:
    """Find rpc-server workers on this machine's networks, and use those that are free.

    Looks at port 50052 without any server noticing, then asks only what is open; a busy worker is not disturbed. What is
    found is saved at once. --subnet names other networks (several with commas); public and large ones are asked about first.
    With CONSUL_HTTP_ADDR set, the workers that Consul lists as healthy are looked at too, and so are those that zeroconf tells
    of; one that is on no network of this machine is asked about first.

        rpc discover
        rpc discover --subnet 192.168.1.0/24 --port 50053

    See also: rpc add, rpc list, discover
    """
    ports = _ports((Kind.RPC,), port)
    return await Looking(session, ports, timeout).run(subnet, all_interfaces=all_interfaces)


@registry.command("dllama discover", group="workers")
async def dllama_discover(
    session: Session,
    *,
    subnet: Subnets | None = None,
    port: int | None = None,
    verify: bool = False,
    timeout: float = WITHIN,
    all_interfaces: bool = False,
) -> Lines | Note:
    """Find open ports of distributed-llama workers: 9999, 9998 and 9990.

    Such a worker ends when a connection to it breaks off, so an open port is reported and not touched. --verify holds a complete,
    empty session with each (port 9990 only when named: dllama-api has the same default). Not while a root is starting.

        dllama discover
        dllama discover --subnet 192.168.1.0/24 --verify

    See also: rpc discover, discover
    """
    ports = _ports((Kind.DLLAMA,), port)
    proved = frozenset(each for each in ports if each != AMBIGUOUS or port == AMBIGUOUS) if verify else frozenset()
    return await Looking(session, ports, timeout, proved).run(subnet, all_interfaces=all_interfaces)


@registry.command("nodes discover", group="workers")
async def nodes_discover(
    session: Session,
    cidr: Subnets | None = None,
    *,
    subnet: Subnets | None = None,
    port: int | None = None,
    timeout: float = WITHIN,
    all_interfaces: bool = False,
) -> Lines | Note:
    """Find Ollama, llama-server, vLLM and other OpenAI-compatible servers: ports 11434, 8000 and 8080.

        nodes discover
        nodes discover 192.168.1.0/24

    See also: rpc discover, discover
    """
    ports = _ports((Kind.OLLAMA, Kind.OPENAI), port)
    return await Looking(session, ports, timeout).run(cidr or subnet, all_interfaces=all_interfaces)


@registry.command("discover", group="workers")
async def discover(
    session: Session,
    cidr: Subnets | None = None,
    *,
    subnet: Subnets | None = None,
    timeout: float = WITHIN,
    all_interfaces: bool = False,
) -> Lines | Note:
    """Find every kind of worker and server in one go; rpc-servers that are free are used.

        discover
        discover 192.168.1.0/24

    See also: rpc discover, dllama discover, nodes discover
    """
    return await Looking(session, _ports(tuple(PORTS), None), timeout).run(cidr or subnet, all_interfaces=all_interfaces)


def _ports(kinds: Sequence[Kind], named: int | None) -> dict[int, Kind]:
    if named is None:
        return {port: kind for kind in kinds for port in PORTS[kind]}
    if not 0 < named < 65536:
        raise UsageError(f"not a port: {named}", hint="a port is a number from 1 to 65535")
    return {named: kinds[0]}
