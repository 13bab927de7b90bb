"""One look around, for every command that discovers: tells of each find at once, saves the workers, sums up."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.commands.nodes import add_found
from synaptic.discovery.targets import Interface, Subnets, Targets, named_networks, own_networks
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.events import Noticed
from synaptic.results import Lines, Note, gib, plural, to_json
from synaptic.settings import dllama as saved
from synaptic.settings.origins import Origin

if TYPE_CHECKING:
    from synaptic.cluster.handshake import Foreign
    from synaptic.discovery.hearsay import Hearsay
    from synaptic.discovery.hint import Hints
    from synaptic.discovery.moved import Move
    from synaptic.discovery.report import Report
    from synaptic.session import Session

_NAMES = {Kind.RPC: "rpc-server", Kind.DLLAMA: "dllama worker"}  # the others name themselves
_WIDTH = 79
_MOST_OTHERS = 30  # lines
_MOST_FAR = 20  # in one question


class Looking:
    """One command at work: what was found is kept even when it is interrupted."""

    def __init__(self, session: Session, ports: dict[int, Kind], timeout: float, verify: frozenset[int] = frozenset()) -> None:
        self._session = session
        self._ports = ports
        self._timeout = timeout
        self._verify = verify
        self._pool = session.know_backends()
        self._known = frozenset(backend.endpoint for backend in self._pool.backends())
        self._seen = 0
        self._unsaved: list[Backend] = []
        self._added: list[Endpoint] = []
        self._servers: list[Endpoint] = []  # that are new
        self._saving = asyncio.Lock()
        self._told: asyncio.Queue[str | None] = asyncio.Queue()
        self._report: Report | None = None
        self._interfaces: list[Interface] = []
        self._hearsay: Hearsay | None = None
        self._moved: list[Move] = []
        self._notes: list[str] = []

    async def run(self, subnet: Subnets | None, *, all_interfaces: bool) -> Lines | Note:
        from synaptic.discovery.interfaces import read_interfaces

        interfaces = self._interfaces = await asyncio.to_thread(read_interfaces)
        targets = named_networks(subnet, interfaces) if subnet else own_networks(interfaces, all_interfaces=all_interfaces)
        if targets.question and not await self._session.confirm(targets.question):
            return Note("looked nowhere")
        return Lines("found", self.lines(targets, is_named=subnet is not None), self.note)

    async def lines(self, targets: Targets, *, is_named: bool) -> AsyncGenerator[str, None]:
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
            hearsay, told = await hearing
            endpoints = chosen(hearsay.endpoints)
            return endpoints if is_named else await self._agreed(endpoints, hearsay, told)

        with self._session.bus.work(self._what()) as work:

            def progressed(done: int) -> None:
                work.update(self._what(), done=done, total=targets.size, unit="addresses")

            hearing = asyncio.create_task(self._hear(targets))
            known = chosen(self._known) if Kind.RPC in self._ports.values() else []
            look = Discovery(targets, self._ports, identify, known=known, heard=heard, found=self._keep, progressed=progressed)
            try:
                report = await look.run()
                self._notes += (await hearing)[1].notes
            finally:
                hearing.cancel()
                await asyncio.wait([hearing])
        await self._compare(report.found)
        return dataclasses.replace(report, notes=(*report.notes, *self._notes))

    async def _hear(self, targets: Targets) -> tuple[Hearsay, Hints]:
        """What Consul and zeroconf tell, while the sweep runs."""
        from synaptic.discovery.hearsay import Hearsay
        from synaptic.discovery.hints import hints
        from synaptic.discovery.identify import Identifier
        from synaptic.discovery.mdns import spoken_on

        near = spoken_on(targets, self._interfaces)
        told = await hints(self._session.environment.variables, frozenset(self._ports.values()), near, self._interfaces)
        identifier = Identifier(self._pool, verify=self._verify, within=self._timeout)
        self._hearsay = Hearsay((*told.found, *told.far), self._known, identifier.identify)
        return self._hearsay, told

    async def _agreed(self, endpoints: Sequence[Endpoint], hearsay: Hearsay, told: Hints) -> list[Endpoint]:
        """Without those that are far, unless the user wants to go there: one question for all of them."""
        outside = {hint.endpoint for hint in told.far}
        far = [each for each in endpoints if each in outside]
        if not far:
            return list(endpoints)
        more = f" and {len(far) - _MOST_FAR} more" if len(far) > _MOST_FAR else ""
        which = ", ".join(f"{each} ({hearsay.source(each)})" for each in far[:_MOST_FAR])
        which += f"{more}: {'it is' if len(far) == 1 else 'they are'} outside this machine's networks"
        try:
            if await self._session.confirm(f"{which}. look there too?"):
                return list(endpoints)
            self._notes.append(f"not looked at: {which}")
        except UsageError:  # nobody is there to be asked
            self._notes.append(f"not looked at: {which} (--yes looks there too)")
        return [each for each in endpoints if each not in outside]

    def _what(self) -> str:
        return f"looking around · {self._seen} found"

    async def _keep(self, backend: Backend) -> None:
        self._seen += 1
        self._told.put_nowait(f"  Found: {_describe(backend)}{self._remark(backend)}")
        if backend.kind is Kind.RPC and backend.state is State.IDLE and backend.endpoint not in self._known:
            self._unsaved.append(backend)
            await self._save()
            self._pool.learn([backend])
        elif backend.kind is Kind.DLLAMA and backend.state is State.IDLE:
            await self._save_dllama(backend.endpoint)
        elif backend.kind in (Kind.OLLAMA, Kind.OPENAI):
            new = await add_found(self._session, [backend])
            self._servers += [backend.endpoint] * len(new)

    async def _save_dllama(self, endpoint: Endpoint) -> None:
        """One that was proved to be a worker."""
        new: list[Endpoint] = []
        await self._session.edit_dllama(lambda document: new.extend(saved.add(document, [endpoint])))
        self._session.dllama.served([endpoint])
        self._added += new

    async def _save(self) -> None:
        """All that wait, in one go. Cut off, they wait still, and the next call saves them."""
        async with self._saving:
            if chosen := list(self._unsaved):
                marks = self._session.whereabouts.marks([each.endpoint for each in chosen], self._instances)
                told = {each.endpoint: dataclasses.replace(marks.get(each.endpoint, Origin()), source=each.source) for each in chosen}
                await self._session.add_backends(list(told), told)
                self._unsaved = self._unsaved[len(chosen) :]
                self._added += told

    async def _compare(self, found: Sequence[Backend]) -> None:
        """Tell of saved workers that are elsewhere now, and remember what tells those that are here."""
        whereabouts = self._session.whereabouts
        here = [backend.endpoint for backend in found if backend.kind is Kind.RPC]
        suspects = whereabouts.suspects(here, self._instances)
        self._moved = await whereabouts.confirmed(suspects, within=self._timeout)
        for move in self._moved:
            self._told.put_nowait(f"  {move.sentence}")
        await self._session.remember(whereabouts.marks(here, self._instances))

    @property
    def _instances(self) -> Mapping[Endpoint, str]:
        return self._hearsay.instances if self._hearsay else {}

    def note(self) -> Note:
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
        kinds = set(self._ports.values())
        noun = "RPC backend" if Kind.RPC in kinds else "dllama worker"
        added = [f"{len(self._added)} new {noun}(s)"] if self._added else []
        added += [plural(len(self._servers), "new server")] if self._servers else []
        if added:
            return f"Added {' and '.join(added)}"
        if Kind.RPC not in kinds:
            noun = "dllama port" if Kind.DLLAMA in kinds else "server"
            return f"found {plural(len(found), noun)}" if found else f"no {noun} found"
        if known := sum(backend.endpoint in self._known for backend in found):
            return f"no new RPC backends, {known} already known"
        return "no new RPC backends" if len(kinds) == 1 else "nothing new found"

    def _remark(self, backend: Backend) -> str:
        return " · already known" if backend.endpoint in self._known else ""

    def _document(self, report: Report) -> dict[str, object]:
        return {
            "found": [{**_record(backend), "added": backend.endpoint in (*self._added, *self._servers)} for backend in report.found],
            "others": report.others,
            "scanned": report.scanned,
            "seconds": report.seconds,
            "added": len(self._added) + len(self._servers),
            "networks": report.networks,
            "notes": report.notes,
            "moved": self._moved,
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
