"""Results that keep coming: an answer, a log, a table that is asked for again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager
from typing import Protocol

from synaptic.errors import INTERRUPTED
from synaptic.results import Json, Lines, Stream, Watch, plural, to_json
from synaptic.shell import keyboard, render
from synaptic.shell.face import Face
from synaptic.shell.region import Region, lines_of, writes_unicode
from synaptic.terminal import visible


class Painter(Protocol):
    def feed(self, text: str) -> None: ...


async def show_stream(face: Face, stream: Stream) -> int:
    if face.as_json:
        return await _show_document(face, stream)
    face.aside(stream.head)
    shown = 0
    try:
        async with _closing(stream.pieces):
            with _painter(face) as painter:
                async for piece in stream.pieces:
                    if piece:
                        face.hide_progress(muted=True)
                        painter.feed(visible(piece))
                        shown += 1
    except asyncio.CancelledError:
        face.aside(f"interrupted after {plural(shown, 'token')}" if shown else "interrupted")
        return INTERRUPTED
    finally:
        face.hide_progress(muted=False)
    outcome = stream.outcome()
    face.tail(outcome.tail)
    return face.fail(outcome.error) if outcome.error else 0


async def _show_document(face: Face, stream: Stream) -> int:
    async with _closing(stream.pieces):
        async for _ in stream.pieces:
            pass
    outcome = stream.outcome()
    data = outcome.data
    if outcome.error:
        data = {**(data if isinstance(data, dict) else {}), "error": to_json(outcome.error.as_json()["error"])}
    face.document(data)
    return outcome.error.exit_code if outcome.error else 0


async def show_lines(face: Face, lines: Lines) -> int:
    """The user ends lines that never end."""
    seen: list[Json] = []
    is_list = face.as_json and lines.after is None
    try:
        async with _closing(lines.lines):
            async for line in lines.lines:
                if is_list:
                    seen.append(line)
                elif not face.as_json:
                    face.write(visible(line) + "\n")
    except asyncio.CancelledError:
        return INTERRUPTED
    finally:
        if is_list:
            face.document({lines.key: seen})
    return face.show_at_once(lines.after()) if lines.after else 0


async def show_watch(face: Face, watch: Watch) -> int:
    """Repaints until `q` or an interruption; where nothing can be painted over, asks once."""
    if not face.paints:
        return face.show_at_once(await watch.again())
    painting = asyncio.create_task(_repaint(face, watch))
    with keyboard.pressed(face.environment.stdin, {"q": painting.cancel}):
        try:
            await painting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            return INTERRUPTED if task and task.cancelling() else 0
    return 0


async def _repaint(face: Face, watch: Watch) -> None:
    region = Region(face.out)
    lines: list[str] = []
    try:
        while True:
            result = await watch.again()
            lines = lines_of(face.out, render.on_terminal(result, face.out.width - 2))[: max(face.out.height - 2, 1)]
            face.hide_progress(muted=True)
            region.paint([*lines, "q leaves"])
            await asyncio.sleep(watch.seconds)
    finally:
        region.settle(lines)
        face.hide_progress(muted=False)


def _painter(face: Face) -> AbstractContextManager[Painter]:
    if face.paints and writes_unicode(face.out):
        from synaptic.shell.markdown import MarkdownStream

        return MarkdownStream(face.out)
    return _RawStream(face)


class _RawStream:
    """Pieces as they come; ends its last line."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._last = "\n"

    def __enter__(self) -> _RawStream:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._last.endswith("\n"):
            self._face.write("\n")

    def feed(self, text: str) -> None:
        self._last = text
        self._face.write(text)


@contextlib.asynccontextmanager
async def _closing(pieces: AsyncIterator[str]) -> AsyncIterator[None]:
    """However showing ends, the other side learns of it now, not when the garbage is collected."""
    try:
        yield
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
