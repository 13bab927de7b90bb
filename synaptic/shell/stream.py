"""Results that keep coming: an answer, a log, a table that is asked for again."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Protocol

from synaptic.errors import INTERRUPTED
from synaptic.results import Json, Lines, Stream, Watch, closing, plural, to_json
from synaptic.shell import keyboard, render
from synaptic.shell.paper import Paper
from synaptic.shell.region import Region, lines_of, writes_unicode
from synaptic.terminal import visible, wrapped


class Painter(Protocol):
    def feed(self, text: str) -> None: ...

    def beside(self, text: str) -> None: ...


async def show_stream(paper: Paper, stream: Stream) -> int:
    if paper.as_json:
        return await _show_document(paper, stream)
    paper.aside(stream.head)
    shown = 0
    try:
        async with closing(stream.pieces):
            with _painter(paper) as painter:
                async for piece in stream.pieces:
                    if piece:
                        paper.hide_progress(muted=True)
                        paper.progress_beside(painter.beside)
                        painter.feed(visible(piece))
                        shown += 1
    except asyncio.CancelledError:
        paper.aside(f"interrupted after {plural(shown, 'token')}" if shown else "interrupted")
        return INTERRUPTED
    finally:
        paper.progress_beside(None)
        paper.hide_progress(muted=False)
    outcome = stream.outcome()
    paper.tail(outcome.tail)
    if outcome.error:
        return paper.fail(outcome.error)
    if outcome.hint:
        paper.aside(f"  {outcome.hint}")
    return 0


async def _show_document(paper: Paper, stream: Stream) -> int:
    async with closing(stream.pieces):
        async for _ in stream.pieces:
            pass
    outcome = stream.outcome()
    data = outcome.data
    if outcome.error:
        data = {**(data if isinstance(data, dict) else {}), "error": to_json(outcome.error.as_json()["error"])}
    paper.document(data)
    return outcome.error.exit_code if outcome.error else 0


async def show_lines(paper: Paper, lines: Lines) -> int:
    """The user ends lines that never end."""
    seen: list[Json] = []
    is_list = paper.as_json and lines.after is None
    try:
        async with closing(lines.lines):
            async for line in lines.lines:
                if is_list:
                    seen.append(line)
                elif not paper.as_json:
                    text = visible(line)
                    paper.write((wrapped(text, paper.out.width) if lines.after and paper.out.is_terminal else text) + "\n")
    except asyncio.CancelledError:
        return INTERRUPTED
    finally:
        if is_list:
            paper.document({lines.key: seen})
    return paper.show_at_once(lines.after()) if lines.after else 0


async def show_watch(paper: Paper, watch: Watch) -> int:
    """Repaints until `q` or an interruption; where nothing can be painted over, asks once."""
    if not paper.paints:
        return paper.show_at_once(await watch.again())
    painting = asyncio.create_task(_repaint(paper, watch))
    with keyboard.pressed(paper.environment.stdin, {"q": painting.cancel}):
        try:
            await painting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            return INTERRUPTED if task and task.cancelling() else 0
    return 0


async def _repaint(paper: Paper, watch: Watch) -> None:
    region = Region(paper.out)
    lines: list[str] = []
    try:
        while True:
            result = await watch.again()
            lines = lines_of(paper.out, render.on_terminal(result, paper.out.width - 2))[: max(paper.out.height - 2, 1)]
            paper.hide_progress(muted=True)
            region.paint([*lines, "q leaves"])
            await asyncio.sleep(watch.seconds)
    finally:
        region.settle(lines)
        paper.hide_progress(muted=False)


def _painter(paper: Paper) -> AbstractContextManager[Painter]:
    if paper.paints and writes_unicode(paper.out):
        from synaptic.shell.markdown import MarkdownStream

        return MarkdownStream(paper.out)
    return _RawStream(paper)


class _RawStream:
    """Pieces as they come; ends its last line."""

    def __init__(self, paper: Paper) -> None:
        self._paper = paper
        self._last = "\n"

    def __enter__(self) -> _RawStream:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._last.endswith("\n"):
            self._paper.write("\n")

    def feed(self, text: str) -> None:
        self._last = text
        self._paper.write(text)

    def beside(self, text: str) -> None:
        """What cannot be painted over is not written."""
