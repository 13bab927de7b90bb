"""
Markdown while it is being written.

Every repaint renders the text so far. Lines that will hardly change any more go to the scrollback; the last few stay
live. The slower the rendering, the rarer the repaints; a long text is cut at a finished paragraph, so that the cost of a
repaint stays bounded.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from types import TracebackType

from markdown_it import MarkdownIt
from pygments.token import (  # type: ignore[import-untyped]  # it comes with rich, without types
    Comment,
    Generic,
    Keyword,
    Name,
    Number,
    Operator,
    String,
    Token,
)
from rich.console import Console
from rich.markdown import Markdown
from rich.style import Style
from rich.syntax import ANSISyntaxTheme
from rich.text import Text

from synaptic.shell.colours import GREEN, MAUVE, RED, TEAL
from synaptic.shell.region import Region, lines_of, uncoloured

LIVE_LINES = 6
LONG = 4000  # characters; a longer text is cut where a paragraph ended
_RARELY, _OFTEN = 2.0, 0.05  # seconds between two repaints
# raw HTML is text here: rich would leave it out, and `vector<int>` with it
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
# a paragraph that starts in the first column continues no list, quote or table above it
_CUT = re.compile(r"\n\n(?=[^\s\d>|*+\-=~`])")
_CODE = ANSISyntaxTheme(
    {
        Token: Style(),
        Comment: Style(dim=True),
        Keyword: Style(bold=True),
        Operator.Word: Style(bold=True),
        Name.Function: Style(color=TEAL),
        Name.Class: Style(color=TEAL),
        Name.Variable: Style(color=TEAL),
        Name.Tag: Style(bold=True),
        Name.Decorator: Style(color=MAUVE),
        String: Style(color=GREEN),
        Number: Style(color=MAUVE),
        Generic.Deleted: Style(color=RED),
        Generic.Inserted: Style(color=GREEN),
        Generic.Heading: Style(bold=True),
    }
)
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)


def markdown(text: str) -> Markdown:
    """`text` must have been made visible before. Links show where they lead and are not clickable."""
    document = Markdown("", hyperlinks=False, code_theme=_CODE)  # type: ignore[arg-type]  # handed on to Syntax, which takes themes
    document.parsed = _PARSER.parse(text)
    return document


class MarkdownStream:
    """Used inside the event loop, as a context: leaving it paints what is left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._region = Region(console)
        self.text = ""  # what may still change
        self._below: list[str] = []  # the work that the text waits for
        self._scrolled = 0  # lines of the text that are in the scrollback
        self._letters = 0  # in them
        self._width = console.width  # when they were rendered
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> MarkdownStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._settle(self.text)

    @property
    def is_behind(self) -> bool:
        """A repaint is waiting for its time."""
        return self._timer is not None

    def feed(self, text: str) -> None:
        self.text += text
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, self._due - time.monotonic()), self._repaint)

    def beside(self, text: str) -> None:
        """Show `text` below what is written so far, until it is empty."""
        self._below = lines_of(self._console, Text(text, style="dim")) if text else []
        self.feed("")

    def _repaint(self) -> None:
        self._timer = None
        began = time.monotonic()
        self._cut()
        lines = self._rendered(self.text)
        live = max(1, min(LIVE_LINES, self._console.height - 2))
        final = max(len(lines) - live, self._scrolled)
        self._region.paint([*lines[final:], *self._below], above=lines[self._scrolled : final])
        self._scrolled, self._letters = final, sum(map(_letters, lines[:final]))
        now = time.monotonic()
        self._due = now + min(max((now - began) * 10, _OFTEN), _RARELY)

    def _cut(self) -> None:
        """Settle the finished paragraphs of a long text and go on with the rest."""
        if len(self.text) < LONG:
            return
        for match in reversed(list(_CUT.finditer(self.text))):
            before = self.text[: match.start()]
            if len(_FENCE.findall(before)) % 2 == 0:
                self._settle(before, "")
                self.text, self._scrolled, self._letters = self.text[match.end() :], 0, 0
                return

    def _settle(self, text: str, *more: str) -> None:
        self._region.settle([*self._rendered(text)[self._scrolled :], *more])

    def _rendered(self, text: str) -> list[str]:
        """In a window of another width its lines break elsewhere: whatever is not wholly in the scrollback yet is still to come."""
        lines = lines_of(self._console, markdown(text))
        if self._width != self._console.width:
            self._width = self._console.width
            so_far = itertools.accumulate(map(_letters, lines))
            self._scrolled = sum(letters <= self._letters for letters in so_far) if self._letters else 0
        return lines


def _letters(line: str) -> int:
    """What of a line is there at any width: neither blanks nor borders."""
    return sum(map(str.isalnum, uncoloured(line)))
