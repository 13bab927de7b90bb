from __future__ import annotations

import asyncio
import io
import re

import pytest
from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.text import Text

from synaptic.events import Bus
from synaptic.shell.colours import ATTENTION
from synaptic.shell.markdown import LIVE_LINES, LONG, MarkdownStream, markdown
from synaptic.shell.paper import THEME
from synaptic.shell.progress import Progress
from synaptic.shell.region import Region, lines_of
from synaptic.shell.render import COLOURS

pytestmark = pytest.mark.anyio
_MOVES = re.compile(r"(?:\x1b\[(\d+)A)?\r\x1b\[J")


def console(columns: int = 40) -> Console:
    return Console(file=io.StringIO(), width=columns, height=20, force_terminal=True, color_system=None, highlight=False)


def screen(terminal: Console) -> list[str]:
    """What a terminal shows after all the moves up and erasures."""
    lines = [""]
    for part in re.split(r"(\x1b\[\d+A\r\x1b\[J|\r\x1b\[J)", terminal.file.getvalue()):
        if move := _MOVES.fullmatch(part):
            up = int(move[1] or 0)
            lines = [*lines[: len(lines) - 1 - up], ""]
        else:
            first, *more = part.split("\n")
            lines = [*lines[:-1], lines[-1] + first, *more]
    return lines


def plain(text: str, columns: int = 40) -> list[str]:
    return lines_of(console(columns), markdown(text))


def test_a_region_is_painted_over_and_what_is_above_stays() -> None:
    terminal = console()
    region = Region(terminal)
    region.paint(["live 1", "live 2"], above=["final"])
    region.paint(["live 3"])
    region.settle(["the end"])
    assert screen(terminal) == ["final", "the end", ""]


def test_every_colour_stands_out_from_a_white_and_from_a_black_ground() -> None:
    text = "# One\n\n## Two\n\n### Three\n\n> quote and `code`, [there](http://a.example)\n\n1. first\n\n|a|b|\n|-|-|\n|1|2|\n\n"
    text += "```python\n@d\nclass A:\n    def f(x: int = 3) -> str:  # why\n        return 'a'\n```\n\n```diff\n-old\n+new\n```\n"
    painted = Console(file=io.StringIO(), force_terminal=True, color_system="256", theme=THEME)
    painted.print(markdown(text), *(Text(style, style=style) for style in COLOURS.values()))
    codes = set(re.findall(r"\x1b\[([\d;]+)m", painted.file.getvalue()))
    numbers = {int(number) for each in codes for number in re.findall(r"38;5;(\d+)", each)}
    plain_codes = {code for each in codes for code in re.sub(r"38;5;\d+", "0", each).split(";")}
    assert plain_codes <= set("0123459"), "only attributes: the sixteen colours with a name are a terminal's own"
    assert {28, 30, 130, 133, 196} <= numbers
    for colour in (*(Color.from_ansi(number).get_truecolor() for number in numbers), Color.parse(ATTENTION).get_truecolor()):
        light = luminance(colour)
        assert min(1.05 / (light + 0.05), (light + 0.05) / 0.05) > 3.8, colour


def luminance(colour: ColorTriplet) -> float:
    """As WCAG 2 defines it."""
    linear = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in colour.normalized)
    return sum(part * each for part, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("text", ["vector<int> a;", "<think>why</think>", "[/INST] list[str]", "a & b &lt;c&gt;"])
def test_text_that_looks_like_markup_is_shown(text: str) -> None:
    assert plain(text) == [text.replace("&lt;", "<").replace("&gt;", ">")]


def test_links_show_where_they_lead_and_are_not_clickable() -> None:
    assert plain("[a bank](http://evil.example)") == ["a bank (http://evil.example)"]


def test_no_control_character_is_made_by_markdown_itself() -> None:
    for entity in ("&#27;[2J", "&#155;2J", "&#13;", "&#x202e;", "&#8233;"):
        shown = "".join(plain(f"x{entity}y `{entity}`\n\n```\n{entity}\n```"))
        assert not set(shown) & set("\x1b\x9b\r\u202e\u2029"), entity


async def painted(stream: MarkdownStream) -> None:
    while stream.is_behind:
        await asyncio.sleep(0.001)


async def test_a_stream_ends_as_the_whole_text_would_look() -> None:
    text = "# Title\n\nSome *words* in a `paragraph` that is long enough to wrap.\n\n- one\n- two\n\n```python\nprint(1)\n```\n\nthe end"
    terminal = console()
    with MarkdownStream(terminal) as stream:
        for word in re.findall(r"\S+\s*", text):
            stream.feed(word)
            await painted(stream)
    assert [line.rstrip() for line in screen(terminal)] == [*plain(text), ""]


async def test_finished_lines_scroll_away_and_only_the_last_few_are_live() -> None:
    terminal = console()
    with MarkdownStream(terminal) as stream:
        stream.feed("\n\n".join(f"line {number}" for number in range(40)))
        await painted(stream)
        assert "line 39" in terminal.file.getvalue()
        stream.feed("\n\nthe end")
    ups = [int(up) for up in re.findall(r"\x1b\[(\d+)A", terminal.file.getvalue())]
    assert ups == [LIVE_LINES - 1]
    assert screen(terminal)[-2:] == ["the end", ""]


async def test_a_long_text_is_cut_between_paragraphs_and_never_inside_code() -> None:
    text = "\n\n".join(["word " * 30] * 60 + ["```\n" + "code\n\nmore\n" * 100 + "```"] + ["A last word."])
    assert len(text) > 2 * LONG
    terminal = console()
    with MarkdownStream(terminal) as stream:
        for start in range(0, len(text), 2000):
            stream.feed(text[start : start + 2000])
            await painted(stream)
    assert [line.rstrip() for line in screen(terminal)] == [*plain(text), ""]
    assert len(stream.text) < len(text) / 2


async def test_what_an_answer_waits_for_stands_below_it_until_it_goes_on() -> None:
    terminal, bus = console(), Bus()
    with Progress(bus, terminal) as progress, MarkdownStream(terminal) as stream:
        progress.muted, progress.beside = True, stream.beside
        stream.feed("the first half,")
        await painted(stream)
        with bus.work("demo loading"):
            async with asyncio.timeout(5):
                while len(screen(terminal)) < 2:
                    await asyncio.sleep(0.01)
            first, waiting = screen(terminal)
            assert first == "the first half,"
            assert "demo loading · " in waiting
        stream.feed(" and the second")
        await painted(stream)
        assert screen(terminal) == ["the first half, and the second"]
