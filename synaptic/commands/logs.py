"""logs: what our processes and we ourselves wrote down."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.grammar import Complete, Completion
from synaptic.commands.registry import registry
from synaptic.errors import SynapticError
from synaptic.results import Lines
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from synaptic.session import Session

TAIL = 256 * 1024  # bytes read from the end of a log


def names(session: Session) -> list[Completion]:
    return [(path.stem, "log") for path in _files(session.logs)]


@registry.command("logs", group="look")
async def logs(session: Session, name: Annotated[str | None, Complete(names)] = None, *, lines: int = 40, follow: bool = False) -> Lines:
    """Show the end of a log: of a coordinator, a worker, or the program's own (synaptic). -f follows it.

    Without a name it is the one that was written last.

        logs
        logs coordinator
        logs worker-50052 --lines 100
        logs coordinator -f

    See also: coordinator logs, worker list, doctor
    """
    path = _choose(session.logs, name)
    return Lines("lines", _read(path, max(lines, 1), follow))


@registry.command("coordinator logs", group="models")
async def coordinator_logs(session: Session, *, lines: int = 40, follow: bool = False) -> Lines:
    """Show the end of the newest coordinator's log. -f follows it.

        coordinator logs --lines 200
        coordinator logs -f

    See also: logs, coordinator list
    """
    return await logs(session, "coordinator", lines=lines, follow=follow)


def _files(folder: Path) -> list[Path]:
    """Newest first."""
    found = [path for path in folder.glob("*.log") if path.is_file()] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _choose(folder: Path, name: str | None) -> Path:
    files = _files(folder)
    matching = [path for path in files if name is None or path.stem == name] or [path for path in files if path.stem.startswith(name or "")]
    if not matching:
        known = ", ".join(path.stem for path in files[:6])
        hint = f"there are: {known}" if known else "the first worker or coordinator begins one; try: demo"
        raise SynapticError(f"no log of {one_line(name, 60)} yet" if name else "no logs yet", hint=hint)
    return matching[0]


async def _read(path: Path, lines: int, follow: bool) -> AsyncIterator[str]:
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - TAIL))
        for line in deque(log, maxlen=lines):
            yield line.decode(errors="replace").rstrip("\n")
        while follow:
            if raw := log.readline():
                yield raw.decode(errors="replace").rstrip("\n")
            elif path.stat().st_ino != os.fstat(log.fileno()).st_ino:
                return  # a new start began a new log
            else:
                await asyncio.sleep(0.2)
