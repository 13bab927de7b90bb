"""rpc: llama.cpp rpc-servers that may hold a part of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import backends, configured
from synaptic.commands.grammar import AnyNumber, Complete
from synaptic.commands.registry import registry
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, UsageError
from synaptic.results import Cell, Note, Rows, Style, Watch, gib, plural

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.cluster.pool import Record
    from synaptic.discovery.moved import Move
    from synaptic.session import Session

_STYLES: dict[str, Style] = {"idle": "good", "in-use": "good", "busy": "attention", "unreachable": "bad", "incompatible": "bad"}


@registry.command("rpc add", group="workers")
async def add(session: Session, *endpoint: Endpoint, timeout: float = 2.0) -> Note:
    """Use rpc-server workers at these addresses. The default port is 50052.

    They are saved even when they do not answer now, and used once they do.

        rpc add 192.168.1.10
        rpc add 192.168.1.10 192.168.1.11:50053 --timeout 5

    See also: rpc list, rpc check, rpc remove
    """
    for each in endpoint:
        if each.is_ipv6:
            raise UsageError(f"{each}: llama.cpp's workers speak IPv4 only", hint="add its IPv4 address or its name")
    added = await session.add_backends(endpoint)
    checked = await session.pool.check(endpoint, within=timeout)
    ready = [backend for backend in checked if backend.is_ready]
    here = [backend.endpoint for backend in ready]
    await session.remember(session.whereabouts.marks(here))
    moved = await session.whereabouts.confirmed(session.whereabouts.suspects(here), within=timeout)
    text = f"Added {len(added)} new RPC backend(s)" if added else f"already known: {', '.join(map(str, endpoint))}"
    text += "".join(f"\n  {line}" for line in (*map(_describe, checked), *(move.sentence for move in moved)))
    return Note(
        text,
        {"added": len(added), "backends": [session.pool.record(backend.endpoint) for backend in checked], "moved": moved},
        hint=None if len(ready) == len(checked) else "rpc check asks them again",
    )


@registry.command("rpc remove", group="workers")
async def remove(
    session: Session,
    *endpoint: Annotated[Endpoint, AnyNumber(), Complete(configured)],
    all: bool = False,
) -> Note:
    """Forget workers. They keep running; the addresses are dropped from the settings.

        rpc remove 192.168.1.10
        rpc remove --all

    See also: rpc add, rpc list
    """
    if bool(endpoint) == all:
        raise UsageError("name the workers to forget, or --all", hint="usage: rpc remove [<endpoint>…] [--all]")
    known = session.settings.now.rpc_backends
    chosen = known if all else endpoint
    if all and known and not await session.confirm(f"forget {plural(len(known), 'worker')}?"):
        return Note("nothing changed")
    before = session.settings.sources()
    removed = await session.remove_backends(chosen)
    missing = [each for each in chosen if each not in removed]
    if missing:
        raise BackendError(f"not configured: {', '.join(map(str, missing))}", hint="try: rpc list")
    back = [str(each) for each in removed if before.get(each) == "environment"]
    hint = f"LLAMA_RPC_BACKENDS still names {', '.join(back)}: at the next start it is known again" if back else None
    return Note(f"Removed {len(removed)} RPC backend(s)", {"removed": removed}, hint=hint)


@registry.command("rpc list", group="workers", aliases=("ls",))
async def list_(session: Session, *, watch: bool = False) -> Rows[Record] | Watch:
    """Show the known workers and how they are now. --watch keeps asking.

        rpc list
        rpc list --watch

    See also: rpc check
    """
    if watch:
        return Watch(lambda: check(session), seconds=2.0)
    return await _compared(session, await session.know_backends().check())


@registry.command("rpc check", group="workers")
async def check(session: Session, *endpoint: Annotated[Endpoint, AnyNumber(), Complete(backends)], timeout: float = 2.0) -> Rows[Record]:
    """Ask workers what they are: protocol version, devices, free memory.

    A worker that our own coordinator holds is not asked; it would wait behind the model.

        rpc check
        rpc check 192.168.1.10 --timeout 5

    See also: rpc list, bench link, doctor
    """
    pool = session.know_backends()
    unknown = [each for each in endpoint if pool.record(each) is None]
    if unknown:
        raise BackendError(f"unknown worker: {', '.join(map(str, unknown))}", hint=f"try: rpc add {unknown[0]}")
    checked = await pool.check(endpoint or None, within=timeout)
    table = await _compared(session, checked)
    return dataclasses.replace(table, exit_code=0 if not checked or any(each.is_ready for each in checked) else 3)


def rows(session: Session, chosen: list[Backend]) -> Rows[Record]:
    return Rows(
        key="backends",
        items=[record for backend in chosen if (record := session.pool.record(backend.endpoint))],
        columns={
            "endpoint": lambda record: str(record.endpoint),
            "state": lambda record: Cell(record.state.value, _STYLES.get(record.state.value, "")),
            "version": lambda record: record.version or "–",
            "memory": lambda record: gib(sum(device.free for device in record.devices)) if record.devices else "–",
            "devices": lambda record: str(len(record.devices)) if len(record.devices) > 1 else "",  # else the memory is that of one
            "latency": lambda record: f"{record.latency_ms:.0f} ms" if record.latency_ms is not None else "–",
            "source": lambda record: record.source,
            "detail": lambda record: Cell(record.detail.removeprefix("in use by "), "dim"),  # which the state says
        },
        empty="no workers yet. try: worker start --count 2, or: rpc discover",
    )


async def _compared(session: Session, chosen: list[Backend]) -> Rows[Record]:
    """With what only shows side by side: one machine under two addresses, protocols that differ."""
    table = rows(session, chosen)
    twins = await session.rounds.twins()
    moved = _moved(session)
    news = {move.old: f"probably {move.new} now ({move.why})" for move in moved}
    news |= {endpoint: f"same machine and port as {twin}" for endpoint, twin in twins.items()}
    items = [_beside(record, news.get(record.endpoint, "")) for record in table.items]
    versions = {str(record.endpoint): record.version for record in items if record.version}
    here = str(await session.protocol()) if versions else ""
    sentences = [*(move.sentence for move in moved), *filter(None, [differences(versions, here)])]
    return dataclasses.replace(table, items=items, summary="\n".join(sentences) or None, data={"moved": moved})


def _moved(session: Session) -> list[Move]:
    """Told with this result, and not again by itself."""
    moved = session.whereabouts.now()
    session.whereabouts.told(moved)
    return moved


def differences(versions: Mapping[str, str], here: str) -> str | None:
    """None when every worker speaks the protocol of the engine here. `versions`: by endpoint."""
    if set(versions.values()) <= {here}:
        return None
    by_version = {version: [name for name, each in versions.items() if each == version] for version in sorted(set(versions.values()))}
    spoken = [f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''} {v}" for v, names in by_version.items()]
    return f"protocols differ: here {here}, {', '.join(spoken)}; use one release of llama.cpp everywhere: engine install llama.cpp"


def _beside(record: Record, news: str) -> Record:
    return dataclasses.replace(record, detail="; ".join(filter(None, (record.detail, news))))


def _describe(backend: Backend) -> str:
    if not backend.is_ready:
        return f"{backend.endpoint}: {backend.detail or backend.state.value}"
    return f"{backend.endpoint}   rpc-server {backend.version} · {gib(backend.free_bytes)}"
