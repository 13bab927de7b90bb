"""The keyboard between two prompts: nothing typed ahead is lost or echoed into an answer, and Ctrl-C stays a signal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

_INPUT, _LOCAL = 0, 3  # places in what tcgetattr returns


@contextlib.contextmanager
def quiet(stdin: TextIO | None) -> Iterator[None]:
    """Keys wait unchanged for the next prompt: in line mode Enter would arrive as Ctrl-J and Ctrl-D would be lost."""
    try:
        terminal = stdin.fileno() if stdin else -1
        before = termios.tcgetattr(terminal)
    except (termios.error, OSError, ValueError):  # no terminal
        yield
        return
    changed = list(before)
    changed[_INPUT] &= ~termios.ICRNL
    changed[_LOCAL] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(terminal, termios.TCSANOW, changed)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(terminal, termios.TCSANOW, before)


@contextlib.contextmanager
def pressed(stdin: TextIO | None, keys: Mapping[str, Callable[[], object]]) -> Iterator[None]:
    """Call `keys[key]` when that key is pressed on the terminal. All other keys are swallowed."""
    if stdin is None or not stdin.isatty():
        yield
        return
    terminal = stdin.fileno()

    def read() -> None:
        for key in os.read(terminal, 64).decode(errors="replace"):
            if key in keys:
                keys[key]()

    loop = asyncio.get_running_loop()
    with quiet(stdin):
        loop.add_reader(terminal, read)
        try:
            yield
        finally:
            loop.remove_reader(terminal)
