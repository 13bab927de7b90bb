"""Shells of the whole program, each a process of its own that reads its lines from a pipe."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

MAIN = Path(__file__).parents[1] / "main.py"
PATIENCE = 60.0  # seconds for an answer, on a busy machine


class Shell:
    def __init__(self, home: Path) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, str(MAIN)], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, env=os.environ, cwd=home, start_new_session=True
        )

    def types(self, *lines: str) -> None:
        assert self.process.stdin
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.process.stdin.flush()

    def says(self, text: str) -> str:
        """All it said until `text` came."""
        said = self.says_or_ends(text)
        if text not in said:
            pytest.fail(f"expected {text!r}; it ended, or was silent, after:\n{said}", pytrace=False)
        return said

    def says_or_ends(self, text: str) -> str:
        assert self.process.stdout
        said, end = "", time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while text not in said and selector.select(end - time.monotonic()):
                chunk = os.read(self.process.stdout.fileno(), 64 * 1024)
                said += chunk.decode(errors="replace")
                if not chunk:
                    break
        return said

    def ends(self) -> int:
        """The exit code, once its input is over."""
        self._close()
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._close()

    def _close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream and not stream.closed:
                stream.close()


def engines_of(home: Path) -> list[psutil.Process]:
    """Every llama-server that was started with this home, in the ledger or not."""
    return [process for process in psutil.process_iter() if _is_engine_of(home, process)]


def end_engines(home: Path) -> Iterator[None]:
    yield
    for process in engines_of(home):
        process.kill()


def _is_engine_of(home: Path, process: psutil.Process) -> bool:
    try:
        is_alive = process.status() != psutil.STATUS_ZOMBIE
        return is_alive and process.name() == "llama-server" and process.environ().get("HOME") == str(home)
    except psutil.Error:
        return False
