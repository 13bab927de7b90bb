"""One command from the command line: run it, show it, end with its exit code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from synaptic.commands.registry import Registry
from synaptic.errors import SynapticError
from synaptic.results import Lines, Note, Stream
from synaptic.shell.face import Face
from synaptic.shell.notices import Notices
from synaptic.shell.signals import until_signal

if TYPE_CHECKING:
    from synaptic.session import Session


async def run(session: Session, registry: Registry, face: Face, words: Sequence[str], *, metrics: bool = False) -> int:
    """The exit code. SIGINT, SIGTERM and SIGHUP cancel the command; the code is then 128 + the signal."""
    try:
        return await until_signal(_run(session, registry, face, words, metrics))
    except SynapticError as error:
        return face.fail(error)
    except Exception as error:  # whatever no command foresaw is told in one line here too
        return face.crash(error)


async def run_aside(session: Session, registry: Registry, face: Face, words: Sequence[str]) -> int:
    """A command before the one that was asked for: what it says is talk, for stdout is the other's."""
    try:
        return await until_signal(_aside(session, registry, face, words))
    except SynapticError as error:
        return face.fail(error)
    except Exception as error:
        return face.crash(error)


async def _aside(session: Session, registry: Registry, face: Face, words: Sequence[str]) -> int:
    with face.progress(session.bus):
        result = await registry.parse_words(words).run(session)
        if isinstance(result, Lines):
            async for line in result.lines:
                face.talk(line)
            result = result.after() if result.after else Note("")
        if isinstance(result, Note):
            face.talk("\n  ".join(filter(None, (result.text, result.hint))))
    return 0


async def _run(session: Session, registry: Registry, face: Face, words: Sequence[str], metrics: bool) -> int:
    with Notices(session.bus, face), face.progress(session.bus):
        result = await registry.parse_words(words).run(session)
        code = await face.show(result, session.bus)
    if metrics and isinstance(result, Stream):
        data = result.outcome().data
        assert isinstance(data, dict)
        face.write(json.dumps({key: data[key] for key in ("model", "route", "usage", "timings")}) + "\n")
    if isinstance(result, Note) and result.holds:
        face.talk("Ctrl-C stops it")
        await asyncio.Event().wait()
    return code
