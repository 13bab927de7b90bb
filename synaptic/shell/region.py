"""The last lines on a terminal, painted over until they are final. No alternate screen, no hidden cursor: nothing to undo."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.segment import Segment, Segments

from synaptic.terminal import visible

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ROOM_FOR_INTERRUPT = 2  # columns left free, so that an echoed ^C does not wrap


class Region:
    """Painted lines must fit the width (see `lines_of`); they may hold colours."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._painted: list[str] = []

    def paint(self, lines: Sequence[str], above: Sequence[str] = ()) -> None:
        """`above` goes to the scrollback for good; `lines` replace what was painted before."""
        if not (lines or above or self._painted):
            return
        height = self._rows()
        up = f"\x1b[{height - 1}A" if height > 1 else ""
        clear = f"{up}\r\x1b[J" if height else ""
        self._painted = list(lines)
        self._console.file.write(clear + "".join(f"{line}\n" for line in above) + "\n".join(lines))
        self._console.file.flush()

    def settle(self, lines: Sequence[str]) -> None:
        """These are final: the region ends below them."""
        self.paint((), above=lines)

    def _rows(self) -> int:
        """How many rows hold now what was painted: a terminal that became narrower has wrapped it."""
        width = max(self._console.width, 1)
        return sum(max(1, -(-cell_len(uncoloured(line)) // width)) for line in self._painted)


def lines_of(console: Console, renderable: RenderableType) -> list[str]:
    """What `renderable` looks like here, line by line. Control characters that rendering let through are made visible."""
    width = max(console.width - ROOM_FOR_INTERRUPT, 10)
    rendered = console.render_lines(renderable, console.options.update(width=width, height=None), pad=False)
    return [_ansi(console, _without_trailing_blanks(line)) for line in rendered]


def uncoloured(line: str) -> str:
    return _COLOUR.sub("", line)


def writes_unicode(console: Console) -> bool:
    """rich asks only the stream a console was made with, not the one it writes to."""
    return (getattr(console.file, "encoding", None) or "utf-8").lower().startswith("utf")


def _without_trailing_blanks(line: list[Segment]) -> list[Segment]:
    kept = [Segment(visible(segment.text), segment.style) for segment in line if not segment.control]
    while kept and not kept[-1].text.strip():
        kept.pop()
    return kept


def _ansi(console: Console, line: list[Segment]) -> str:
    with console.capture() as captured:
        console.print(Segments(line), end="", soft_wrap=True)
    return captured.get().rstrip()
