"""dllama: distributed-llama workers, which may hold a slice of every layer of a .m model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from synaptic import settings_dllama
from synaptic.commands.complete import dllama_backends
from synaptic.commands.grammar import AnyNumber, Complete
from synaptic.commands.registry import registry
from synaptic.endpoint import DLLAMA_PORT, Endpoint
from synaptic.errors import BackendError, UsageError
from synaptic.results import Cell, Note, Rows, Style, plural

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.cluster.pool import Record
    from synaptic.session import Session
    from synaptic.settings_text import Document

_STYLES: dict[str, Style] = {"idle": "good", "in-use": "good", "unverified": "attention", "unreachable": "bad"}
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
    for each in endpoint:
        if each.is_ipv6:
            raise UsageError(f"{each}: distributed-llama speaks IPv4 only", hint="add its IPv4 address or its name")
    added = await _edited(session, settings_dllama.add, endpoint)
    checked = await session.know_dllama().check(endpoint)
    text = f"Added {len(added)} new dllama worker(s)" if added else f"already known: {', '.join(map(str, endpoint))}"
    text += "".join(f"\n  {each.endpoint}: {each.detail or each.state.value}" for each in checked)
    return Note(text, {"added": len(added), "backends": _records(session, checked)}, hint="dllama check --verify proves what they are")


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
    removed = await _edited(session, settings_dllama.remove, chosen)
    missing = [each for each in chosen if each not in removed]
    if missing:
        raise BackendError(f"not configured: {', '.join(map(str, missing))}", hint="try: dllama list")
    return Note(f"Removed {len(removed)} dllama worker(s)", {"removed": removed})


@registry.command("dllama list", group="workers")
async def list_(session: Session) -> Rows[Record]:
    """Show the known dllama workers and how their ports look now. None of them notices.

    A busy one does not listen and looks as one that is down; only its root can tell.

        dllama list

    See also: dllama check
    """
    return _rows(session, await session.know_dllama().check())


@registry.command("dllama check", group="workers")
async def check(
    session: Session, *endpoint: Annotated[DllamaEndpoint, AnyNumber(), Complete(dllama_backends)], verify: bool = False
) -> Rows[Record]:
    """Look at the ports of dllama workers; with --verify, prove that they are some.

    The proof is a complete, empty session. A worker of a version before 0.12 ends after every session, also after this
    one. One that our own coordinator holds is not asked. Not while another root is about to start on them.

        dllama check
        dllama check 192.168.1.10 --verify

    See also: dllama list, dllama discover
    """
    workers = session.know_dllama()
    unknown = [each for each in endpoint if workers.record(each) is None]
    if unknown:
        raise BackendError(f"unknown dllama worker: {', '.join(map(str, unknown))}", hint=f"try: dllama add {unknown[0]}")
    checked = await (workers.prove if verify else workers.check)(endpoint or None)
    table = _rows(session, checked)
    is_fine = not checked or any(each.state.value in _THERE for each in checked)
    return dataclasses.replace(table, exit_code=0 if is_fine else BackendError.exit_code)


async def _edited(
    session: Session, edit: Callable[[Document, Sequence[Endpoint]], list[Endpoint]], endpoints: Sequence[Endpoint]
) -> list[Endpoint]:
    """Those that the edit changed."""
    changed: list[Endpoint] = []

    def run(document: Document) -> None:
        changed[:] = edit(document, endpoints)  # the last run counts: it may be run again on a newer file

    await session.edit_dllama(run)
    return changed


def _records(session: Session, chosen: Sequence[Backend]) -> list[Record]:
    return [record for backend in chosen if (record := session.dllama.record(backend.endpoint))]


def _rows(session: Session, chosen: Sequence[Backend]) -> Rows[Record]:
    return Rows(
        key="backends",
        items=_records(session, chosen),
        columns={
            "endpoint": lambda record: str(record.endpoint),
            "state": lambda record: Cell(record.state.value, _STYLES.get(record.state.value, "")),
            "latency": lambda record: f"{record.latency_ms:.0f} ms" if record.latency_ms is not None else "–",
            "source": lambda record: record.source,
            "detail": lambda record: Cell(record.detail, "dim"),
        },
        empty="no dllama workers yet. try: dllama add HOST, or: dllama discover",
    )
