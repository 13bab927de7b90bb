"""
One program run to its end, as a step of something larger.

Its words go to a log and to whoever listens for progress; when we are cancelled its whole process group ends first.
Not for processes that serve: those are supervised, see `child.py`.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from synaptic.errors import EngineError
from synaptic.events import Work

GRACE = 5.0  # seconds between asking a group to end and ending it
LAST_WORDS = 20  # lines of a failed step that the user sees


class Steps:
    """Runs steps one after another, into one log. `holds` is a file descriptor that every step keeps open."""

    def __init__(self, log: Path, variables: Mapping[str, str], *, holds: int, quiet: float = 1800.0) -> None:
        self.log = log
        self._variables = variables
        self._holds = holds
        self._quiet = quiet  # seconds without a word before a step is given up: one file can take minutes on a small machine

    async def run(
        self, what: str, *command: str | Path, hear: Callable[[str], None] = lambda line: None, variables: Mapping[str, str] | None = None
    ) -> None:
        """Raises EngineError "WHAT failed" with the last words, unless the program ends with 0. `hear` gets every line."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**self._variables, **(variables or {})},
            start_new_session=True,  # one group, which ends together; Ctrl-C in our terminal is ours
            pass_fds=(self._holds,),
        )
        try:
            words = await self._listen(process, hear)
            code = await process.wait()
        except TimeoutError as error:
            raise self._failure(f"{what} said nothing for {self._quiet / 60:.0f} minutes and was given up", ()) from error
        finally:
            await _end(process)
        if code != 0:
            raise self._failure(f"{what} failed", tuple(words))

    async def _listen(self, process: asyncio.subprocess.Process, hear: Callable[[str], None]) -> collections.deque[str]:
        assert process.stdout
        words: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        rest = b""
        with self.log.open("ab") as log:
            while piece := await self._more(process.stdout):
                log.write(piece)
                log.flush()
                *lines, rest = (rest + piece).replace(b"\r", b"\n").split(b"\n")
                for line in lines:
                    _take(line, words, hear)
        _take(rest, words, hear)
        return words

    async def _more(self, output: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(self._quiet):  # not wait_for: before Python 3.12 it loses a cancellation that comes with the data
            return await output.read(65536)

    def _failure(self, message: str, details: tuple[str, ...]) -> EngineError:
        return EngineError(message, hint=f"the whole log: {self.log}", details=details)


def counting(pattern: str, work: Work, unit: str, scale: int = 1) -> Callable[[str], None]:
    """What hears `pattern` (so many of so many) at the start of a program's lines and passes it on as progress."""

    def hear(line: str) -> None:
        if match := re.match(pattern, line):
            work.update(done=int(match[1]) // scale, total=int(match[2]) // scale, unit=unit)

    return hear


def _take(raw: bytes, words: collections.deque[str], hear: Callable[[str], None]) -> None:
    if line := raw.decode(errors="replace").rstrip():
        words.append(line)
        hear(line)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Nothing of the group is left after this; not even when we are cancelled again while it ends."""
    try:
        if process.returncode is None:
            _signal(process, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await process.wait()
    finally:
        _signal(process, signal.SIGKILL)


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
