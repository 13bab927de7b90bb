from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

LITTLE = Path(__file__).with_name("little_shell.py")
PROMPT = "synaptic>"
BEGIN = "\N{BULLSEYE}"
_OPENS = "\x1b[?2004h"  # bracketed paste is switched on: a prompt begins, not the last look of the one before
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[=>])")


class Terminal(pexpect.spawn):  # type: ignore[misc] - pexpect is untyped here
    """A shell on a pty, read without its escape sequences."""

    rest = ""
    is_dumb = False

    def read_nonblocking(self, size: int = 1, timeout: int | None = None) -> str:
        text = self.rest + super().read_nonblocking(size, timeout)
        cut = match.start() if (match := re.search(r"\x1b(?:\[[0-9;?]*)?$", text)) else len(text)
        self.rest = text[cut:]
        return _SEQUENCE.sub("", text[:cut].replace(_OPENS, BEGIN))

    def types(self, text: str, *, enter: bool = True) -> None:
        self.send(text + ("\r" if enter else ""))

    def says(self, *texts: str) -> None:
        """In this order."""
        for text in texts:
            try:
                self.expect_exact(text)
            except pexpect.ExceptionPexpect:
                pytest.fail(f"expected {text!r}; the terminal shows:\n{self.before}", pytrace=False)

    def prompts(self) -> None:
        self.says(*([PROMPT] if self.is_dumb else [BEGIN, PROMPT]))

    def ends(self) -> int:
        """The exit code, 128 + the signal that killed it."""
        self.expect(pexpect.EOF)
        self.close()
        return self.exitstatus if self.exitstatus is not None else 128 + self.signalstatus


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Starts a shell on a pty: `terminal("--plain", TERM="dumb")`; `command=` starts something else than the little shell."""
    started: list[Terminal] = []

    def start(*arguments: str, command: str = "", size: tuple[int, int] = (30, 100), **variables: str) -> Terminal:
        environment = os.environ | {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm-256color", "COLUMNS": "", "LINES": ""} | variables
        child = Terminal(
            command or sys.executable,
            [*arguments] if command else [str(LITTLE), *arguments],
            env=environment,
            encoding="utf-8",
            dimensions=size,
            timeout=45,
            codec_errors="replace",
        )
        child.delaybeforesend = None
        child.is_dumb = environment["TERM"] == "dumb"
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


class Window:
    """A shell in tmux: what a person would see."""

    def __init__(self, socket: Path, variables: dict[str, str], columns: int) -> None:
        self._socket = str(socket)
        program = [f"{name}={value}" for name, value in variables.items()] + [sys.executable, str(LITTLE)]
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", "24", "env", *program)

    def types(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def shows(self, *texts: str, without: str | None = None, below: str = "") -> str:
        """The screen, as soon as all `texts` are on it and `without` is not; with `below`, all that was shown since that."""
        from time import monotonic

        until = monotonic() + 45
        while True:
            screen = self.showed().partition(below)[2] if below else self._tmux("capture-pane", "-p")
            if all(text in screen for text in texts) and not (without and without in screen):
                return screen
            if monotonic() > until:
                pytest.fail(f"expected {texts} on:\n{screen}", pytrace=False)

    def becomes(self, columns: int) -> None:
        """As wide as this, as if its corner were pulled."""
        self._tmux("resize-window", "-x", str(columns), "-y", "24")

    def showed(self) -> str:
        """All that is on the screen or has scrolled off it."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-")

    def close(self) -> None:
        self._tmux("kill-server")

    def _tmux(self, *arguments: str) -> str:
        return subprocess.run(["tmux", "-S", self._socket, *arguments], capture_output=True, text=True, timeout=45).stdout


@pytest.fixture
def window(tmp_path: Path, own_home: Path) -> Iterator[Callable[..., Window]]:
    if not shutil.which("tmux"):
        pytest.skip("tmux is not here: the toolbar is not looked at (apt-get install tmux)")
    opened: list[Window] = []

    def start(*, columns: int = 100, **variables: str) -> Window:
        names = ("PYTHONPATH", "HOME", "SYNAPTICLLAMAS_HOME", "PATH")
        opened.append(Window(tmp_path / "tmux", {name: os.environ[name] for name in names} | variables, columns))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
