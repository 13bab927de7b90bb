"""dllama: distributed-llama workers, which may hold a slice of every layer of a .m model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import dllama_backends
from synaptic.commands.grammar import AnyNumber, Complete
from synaptic.commands.registry import registry
from synaptic.endpoint import DLLAMA_PORT, Endpoint
from synaptic.errors import BackendError, UsageError
from synaptic.events import Noticed
from synaptic.results import Note, Rows, plural
from synaptic.settings import dllama as saved

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.commands.dllama_shown import DllamaRecord
    from synaptic.session import Session
    from synaptic.settings.text import Document

_THERE = ("idle", "in-use", "unverified")


class DllamaEndpoint(Endpoint):
    """An Endpoint whose port is 9999 where none is named."""

    @classmethod
    def parse(cls, text: str, default_port: int = DLLAMA_PORT) -> Endpoint:
        return Endpoint.parse(text, default_port)


@registry.command("dllama add", group="workers")
async def add(session: Session, *endpoint: DllamaEndpoint) -> Note:
    """Use dllama workers at these addresses. The default port is 9999.

    They are saved even when they do not listen now. Such a worker ends when a connection to it breaks off, so its port is
    only looked at; `dllama check --verify` proves what it is.

        dllama add 192.168.1.10
        dllama add 192.168.1.10 192.168.1.11:9998

    See also: dllama list, dllama check, dllama discover
    """
    from synaptic.commands.dllama_shown import records

    for each in endpoint:
        if each.is_ipv6:
            raise UsageError(f"{each}: distributed-llama speaks IPv4 only", hint="add its IPv4 address or its name")
    added = await _edited(session, saved.add, endpoint)
    checked = await session.know_dllama().check(endpoint)
    text = f"Added {len(added)} new dllama worker(s)" if added else f"already known: {', '.join(map(str, endpoint))}"
    text += "".join(f"\n  {each.endpoint}: {each.detail or each.state.value}" for each in checked)
    return Note(text, {"added": len(added), "backends": records(session, checked)}, hint="dllama check --verify proves what they are")


@registry.command("dllama remove", group="workers")
async def remove(session: Session, *endpoint: Annotated[DllamaEndpoint, AnyNumber(), Complete(dllama_backends)], all: bool = False) -> Note:
    """Forget dllama workers. They keep running; the addresses are dropped from the settings.

        dllama remove 192.168.1.10
        dllama remove --all

    See also: dllama add, dllama list
    """
    if bool(endpoint) == all:
        raise UsageError("name the workers to forget, or --all", hint="usage: dllama remove [<endpoint>…] [--all]")
    known = session.settings.now.dllama_backends
    if all and known and not await session.confirm(f"forget {plural(len(known), 'dllama worker')}?"):
        return Note("nothing changed")
    chosen = known if all else endpoint
    removed = await _edited(session, saved.remove, chosen)
    missing = [each for each in chosen if each not in removed]
    if missing:
        raise BackendError(f"not configured: {', '.join(map(str, missing))}", hint="try: dllama list")
    return Note(f"Removed {len(removed)} dllama worker(s)", {"removed": removed})


@registry.command("dllama list", group="workers")
async def list_(session: Session) -> Rows[DllamaRecord]:
    """Show the known dllama workers and how their ports look now. None of them notices.

    A busy one does not listen and looks as one that is down; only its root can tell.

        dllama list

    See also: dllama check
    """
    from synaptic.commands.dllama_shown import rows

    return rows(session, await session.know_dllama().check())


@registry.command("dllama check", group="workers")
async def check(
    session: Session, *endpoint: Annotated[DllamaEndpoint, AnyNumber(), Complete(dllama_backends)], verify: bool = False
) -> Rows[DllamaRecord]:
    """Look at the ports of dllama workers; with --verify, prove that they are some, and measure how fast they are.

    The proof is a complete, empty session. The measure takes a few seconds for each worker: it is sent 132 MB of 4-bit
    weights, more than caches hold, and no model. The speed is kept, and `plan` gives each worker as many layers as it is
    fast. A worker of a version before 0.12 ends after every session, also after this one. One that our own coordinator
    holds is not asked. Not while another root is about to start.

        dllama check
        dllama check 192.168.1.10 --verify

    See also: dllama list, dllama discover
    """
    from synaptic.commands.dllama_shown import rows

    workers = session.know_dllama()
    unknown = [each for each in endpoint if workers.record(each) is None]
    if unknown:
        raise BackendError(f"unknown dllama worker: {', '.join(map(str, unknown))}", hint=f"try: dllama add {unknown[0]}")
    checked = await (workers.prove if verify else workers.check)(endpoint or None)
    if verify:
        await _measure(session, checked)
    table = rows(session, checked)
    is_fine = not checked or any(each.state.value in _THERE for each in checked)
    return dataclasses.replace(table, exit_code=0 if is_fine else BackendError.exit_code)


async def _measure(session: Session, proved: Sequence[Backend]) -> None:
    """One after another. One that fails at it is told of, and no reason to fail."""
    free = [each for each in proved if each.state.value == "idle"]
    workers, troubles = session.dllama, []
    with session.bus.work("measuring workers") as work:
        for number, worker in enumerate(free):
            work.update(f"measuring {worker.endpoint}, a few seconds", done=number, total=len(free), unit="workers")
            try:
                async with workers.asking:
                    await session.dllama_speeds.measure(worker.endpoint)
            except BackendError as error:
                troubles.append(str(error))
    for trouble in troubles:
        session.bus.publish(Noticed(text=f"not measured: {trouble}", attention=True))


async def _edited(
    session: Session, edit: Callable[[Document, Sequence[Endpoint]], list[Endpoint]], endpoints: Sequence[Endpoint]
) -> list[Endpoint]:
    """Those that the edit changed."""
    changed: list[Endpoint] = []

    def run(document: Document) -> None:
        changed[:] = edit(document, endpoints)  # the last run counts: it may be run again on a newer file

    await session.edit_dllama(run)
    return changed
