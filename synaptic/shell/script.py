"""Lines from a pipe or a file, one after the other, as if they were typed."""

from __future__ import annotations

import asyncio
import codecs
import io
import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TextIO

from synaptic.commands.quotes import is_unfinished
from synaptic.commands.registry import Registry
from synaptic.shell.face import Face
from synaptic.shell.line import run_line
from synaptic.shell.notices import Notices
from synaptic.shell.signals import until_signal

if TYPE_CHECKING:
    from synaptic.session import Session

CHUNK = 64 * 1024


async def run_script(session: Session, registry: Registry, face: Face, lines: TextIO | None) -> int:
    """Stops at the first failure, with its exit code. Lines that begin with # are comments."""
    session.is_shell = True
    for warning in session.settings.warnings:
        face.talk(f"! {warning}")
    return await until_signal(_run(session, registry, face, lines)) if lines else 0


async def _run(session: Session, registry: Registry, face: Face, lines: TextIO) -> int:
    waiting: list[str] = []
    with Notices(session.bus, face) as notices:
        async for line in _lines(lines):
            waiting.append(line)
            if line.lstrip().startswith("#") and len(waiting) == 1:
                waiting.clear()
            if is_unfinished(text := "\n".join(waiting)):
                continue
            waiting.clear()
            code = await run_line(session, registry, face, text)
            notices.flush()
            if code or face.wishes.leave:
                break
        else:
            code = await run_line(session, registry, face, "\n".join(waiting))
    if face.wishes.leave:
        await session.close(keep=face.wishes.leave.keep)
    return code


async def _lines(source: TextIO) -> AsyncIterator[str]:
    """Does not block the loop between two lines of a slow pipe; a blocked thread could not be cancelled."""
    try:
        number = source.fileno()
    except (io.UnsupportedOperation, AttributeError):  # not a file of the system
        for line in source:
            yield line.rstrip("\r\n")
        return
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    while chunk := await _chunk(number):
        *complete, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in complete:
            yield line.rstrip("\r")
    if rest:
        yield rest


async def _chunk(number: int) -> bytes:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(number, ready.set)
    except PermissionError:  # epoll refuses ordinary files: they are always ready
        return os.read(number, CHUNK)
    try:
        await ready.wait()
        return os.read(number, CHUNK)
    finally:
        loop.remove_reader(number)
