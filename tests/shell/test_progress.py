from __future__ import annotations

import asyncio
import io

import pytest
from rich.console import Console

from synaptic.events import Bus, GenerationProgressed, GenerationStarted
from synaptic.shell.progress import PATIENCE, Progress, Work

pytestmark = pytest.mark.anyio


def console(*, is_terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), width=50, force_terminal=is_terminal, color_system=None, _environ={"TERM": "xterm"})


async def test_short_work_draws_nothing() -> None:
    bus, terminal = Bus(), console()
    with Progress(bus, terminal), bus.work("a moment"):
        await asyncio.sleep(0)
    assert terminal.file.getvalue() == ""


async def test_long_work_has_a_line_that_is_gone_afterwards() -> None:
    bus, terminal = Bus(), console()
    with Progress(bus, terminal), bus.work("x") as work:
        work.update("demo loading\x1b", done=31, total=80, unit="layers")
        await asyncio.sleep(PATIENCE + 0.2)
    painted = terminal.file.getvalue()
    assert "⠋ demo loading^[ · 31 of 80 layers · " in painted
    assert painted.endswith("\r\x1b[J")


async def test_waiting_for_the_first_token_is_work_too() -> None:
    bus, terminal = Bus(), console()
    with Progress(bus, terminal):
        bus.publish(GenerationStarted(model="demo"))
        await asyncio.sleep(PATIENCE + 0.2)
        bus.publish(GenerationProgressed(model="demo", tokens=1, tokens_per_second=None))
        assert terminal.file.getvalue().endswith("\r\x1b[J")
    assert "waiting for demo" in terminal.file.getvalue()


@pytest.mark.parametrize(("is_terminal", "plain"), [(False, False), (True, True)])
async def test_nothing_is_drawn_where_nobody_watches(is_terminal: bool, plain: bool) -> None:
    bus, terminal = Bus(), console(is_terminal=is_terminal)
    with Progress(bus, terminal, plain=plain), bus.work("long"):
        await asyncio.sleep(PATIENCE + 0.2)
    assert terminal.file.getvalue() == ""


@pytest.mark.parametrize(
    ("work", "line"),
    [
        (Work("sweeping", 0.0, 127, 254, "addresses"), "sweeping · 127 of 254 addresses · 48 s"),
        (Work("downloading", 0.0, 2**30, 2**31, "bytes"), "downloading · 1 GiB of 2 GiB · 48 s"),
        (Work("downloading", 0.0, 512, None, "B"), "downloading · 512 B · 48 s"),
        (Work("thinking", 0.0), "thinking · 48 s"),
        (Work("building", 0.0, 3.0, 9.0), "building · 3 of 9 · 48 s"),
    ],
)
def test_a_line_says_what_how_much_and_how_long(work: Work, line: str) -> None:
    assert work.line(48.2) == line
