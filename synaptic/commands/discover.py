"""discover: find workers and servers on the network, and add the workers that proved to be some."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.commands.registry import registry
from synaptic.discovery.ports import AMBIGUOUS, PORTS, WITHIN
from synaptic.discovery.targets import Interface, Subnets, Targets, named_networks, own_networks
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.events import Noticed
from synaptic.results import Lines, Note, gib, plural, to_json

if TYPE_CHECKING:
    from synaptic.cluster.handshake import Foreign
    from synaptic.discovery.hearsay import Hearsay
    from synaptic.discovery.report import Report
    from synaptic.session import Session

_NAMES = {Kind.RPC: "rpc-server", Kind.DLLAMA: "dllama worker"}  # the others name themselves
_WIDTH = 79
_MOST_OTHERS = 30  # lines


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
    With CONSUL_HTTP_ADDR set, the workers that Consul lists as healthy are looked at too.

        rpc discover
        rpc discover --subnet 192.168.1.0/24 --port 50053

    See also: rpc add, rpc list, discover
    """
    ports = _ports((Kind.RPC,), port)
    return await _Looking(session, ports, timeout).run(subnet, all_interfaces=all_interfaces)


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
    return await _Looking(session, ports, timeout, proved).run(subnet, all_interfaces=all_interfaces)


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
    return await _Looking(session, ports, timeout).run(cidr or subnet, all_interfaces=all_interfaces)


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
    return await _Looking(session, _ports(tuple(PORTS), None), timeout).run(cidr or subnet, all_interfaces=all_interfaces)


def _ports(kinds: Sequence[Kind], named: int | None) -> dict[int, Kind]:
    if named is None:
        return {port: kind for kind in kinds for port in PORTS[kind]}
    if not 0 < named < 65536:
        raise UsageError(f"not a port: {named}", hint="a port is a number from 1 to 65535")
    return {named: kinds[0]}


class _Looking:
    """One command at work: what was found is kept even when it is interrupted."""

    def __init__(self, session: Session, ports: dict[int, Kind], timeout: float, verify: frozenset[int] = frozenset()) -> None:
        self._session = session
        self._ports = ports
        self._timeout = timeout
        self._verify = verify
        self._pool = session.know_backends()
        self._known = frozenset(backend.endpoint for backend in self._pool.backends())
        self._seen = 0
        self._unsaved: list[Endpoint] = []
        self._added: list[Endpoint] = []
        self._saving = asyncio.Lock()
        self._told: asyncio.Queue[str | None] = asyncio.Queue()
        self._report: Report | None = None
        self._interfaces: list[Interface] = []

    async def run(self, subnet: Subnets | None, *, all_interfaces: bool) -> Lines | Note:
        from synaptic.discovery.interfaces import read_interfaces

        interfaces = self._interfaces = await asyncio.to_thread(read_interfaces)
        targets = named_networks(subnet, interfaces) if subnet else own_networks(interfaces, all_interfaces=all_interfaces)
        if targets.question and not await self._session.confirm(targets.question):
            return Note("looked nowhere")
        return Lines("found", self._lines(targets, is_named=subnet is not None), self._note)

    async def _lines(self, targets: Targets, *, is_named: bool) -> AsyncGenerator[str, None]:
        """One per find, as it is made. Cut off, what was found is kept and told."""
        looking = asyncio.create_task(self._look(targets, is_named=is_named))
        looking.add_done_callback(lambda _: self._told.put_nowait(None))
        try:
            while (line := await self._told.get()) is not None:
                yield line
            self._report = await looking
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            await self._save()
            if self._report is None and self._added:
                self._session.bus.publish(Noticed(text=f"{self._summary()}: {', '.join(map(str, self._added))}"))

    async def _look(self, targets: Targets, *, is_named: bool) -> Report:
        from synaptic.discovery.discover import Discovery

        def chosen(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
            return [each for each in endpoints if not is_named or _is_in(targets, each)]

        async def identify(endpoint: Endpoint, kind: Kind) -> Backend | Foreign:
            """Not before we have heard: a dllama worker ends when it is asked as anything else."""
            return await (await hearing)[0].identify(endpoint, kind)

        async def heard() -> list[Endpoint]:
            return chosen((await hearing)[0].endpoints)

        with self._session.bus.work(self._what()) as work:

            def progressed(done: int) -> None:
                work.update(self._what(), done=done, total=targets.size, unit="addresses")

            hearing = asyncio.create_task(self._hear(targets))
            known = chosen(self._known) if Kind.RPC in self._ports.values() else []
            look = Discovery(targets, self._ports, identify, known=known, heard=heard, found=self._keep, progressed=progressed)
            try:
                report = await look.run()
                return dataclasses.replace(report, notes=report.notes + (await hearing)[1])
            finally:
                hearing.cancel()
                await asyncio.wait([hearing])

    async def _hear(self, targets: Targets) -> tuple[Hearsay, tuple[str, ...]]:
        """What Consul and zeroconf tell, while the sweep runs; and a sentence for each that could not be asked."""
        from synaptic.discovery.hearsay import Hearsay
        from synaptic.discovery.hints import hints
        from synaptic.discovery.identify import Identifier
        from synaptic.discovery.mdns import spoken_on

        near = spoken_on(targets, self._interfaces)
        told = await hints(self._session.environment.variables, frozenset(self._ports.values()), near)
        identifier = Identifier(self._pool, verify=self._verify, within=self._timeout)
        return Hearsay(told.found, self._known, identifier.identify), told.notes

    def _what(self) -> str:
        return f"looking around · {self._seen} found"

    async def _keep(self, backend: Backend) -> None:
        self._seen += 1
        self._told.put_nowait(f"  Found: {_describe(backend)}{self._remark(backend)}")
        if backend.kind is Kind.RPC and backend.state is State.IDLE and backend.endpoint not in self._known:
            self._unsaved.append(backend.endpoint)
            await self._save()
            self._pool.learn([backend])

    async def _save(self) -> None:
        """All that wait, in one go. Cut off, they wait still, and the next call saves them."""
        async with self._saving:
            if chosen := list(self._unsaved):
                await self._session.add_backends(chosen)
                self._unsaved = self._unsaved[len(chosen) :]
                self._added += chosen

    def _note(self) -> Note:
        report = self._report
        assert report
        how_long = f"{report.scanned} {'address' if report.scanned == 1 else 'addresses'} in {report.seconds:.1f} s"
        summary = self._summary(report.found)
        line = summary + how_long.rjust(max(_WIDTH - len(summary), len(how_long) + 3))
        asides = [f"{other.endpoint}: {other.detail}" for other in report.others[:_MOST_OTHERS]] + list(report.notes)
        if (more := len(report.others) - _MOST_OTHERS) > 0:
            asides.append(f"{more} more answered and are no workers (--json names them)")
        return Note(line, self._document(report), hint="\n  ".join(asides) or None)

    def _summary(self, found: Sequence[Backend] = ()) -> str:
        if Kind.RPC not in self._ports.values():
            noun = "dllama port" if Kind.DLLAMA in self._ports.values() else "server"
            return f"found {plural(len(found), noun)}" if found else f"no {noun} found"
        if self._added:
            return f"Added {len(self._added)} new RPC backend(s)"
        known = sum(backend.endpoint in self._known for backend in found)
        return f"no new RPC backends, {known} already known" if known else "no new RPC backends"

    def _remark(self, backend: Backend) -> str:
        return " · already known" if backend.endpoint in self._known else ""

    def _document(self, report: Report) -> dict[str, object]:
        return {
            "found": [{**_record(backend), "added": backend.endpoint in self._added} for backend in report.found],
            "others": report.others,
            "scanned": report.scanned,
            "seconds": report.seconds,
            "added": len(self._added),
            "networks": report.networks,
            "notes": report.notes,
        }


def _describe(backend: Backend) -> str:
    parts = [f"{_NAMES[backend.kind]} {backend.version or ''}".strip() if backend.kind in _NAMES else ""]
    parts += [gib(backend.free_bytes) if backend.devices else "", backend.detail]
    parts += [f"{backend.latency_ms:.0f} ms" if backend.latency_ms is not None else ""]
    return f"{backend.endpoint}   {' · '.join(filter(None, parts))}"


def _record(backend: Backend) -> dict[str, object]:
    record = to_json(backend)
    assert isinstance(record, dict)
    return dict(record)


def _is_in(targets: Targets, endpoint: Endpoint) -> bool:
    with contextlib.suppress(AddressValueError):
        return targets.contains(IPv4Address(endpoint.host))
    return False
