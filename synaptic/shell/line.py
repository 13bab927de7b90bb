"""One shell line: read it, run it, show what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synaptic.commands.reading import read, take_flags
from synaptic.commands.registry import Registry
from synaptic.errors import SynapticError
from synaptic.services import agreed
from synaptic.shell.face import Face

if TYPE_CHECKING:
    from synaptic.session import Session

__all__ = ["read", "run_line"]


async def run_line(session: Session, registry: Registry, face: Face, line: str) -> int:
    """The exit code of a command or prompt. Only cancellation gets out."""
    line, flags = take_flags(registry, line.strip(), "--json", "--yes")
    face = face.in_json() if "--json" in flags else face
    before = agreed.set("--yes" in flags)
    try:
        if not line:
            return 0
        with face.progress(session.bus):
            result = await read(registry, line).run(session)
            return await face.show(result, session.bus)
    except SynapticError as error:
        return face.fail(error)
    except Exception as error:  # the shell survives what no command foresaw
        return face.crash(error)
    finally:
        agreed.reset(before)
