"""Workers to shake hands with, and ports where there is none."""

from __future__ import annotations

import dataclasses
import functools
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from synaptic.endpoint import Endpoint

FAKES = Path(__file__).parents[1] / "fakes"
FAKE = FAKES / "rpcfake.py"


@dataclasses.dataclass(frozen=True)
class Fake:
    endpoint: Endpoint
    process: subprocess.Popen[str]

    def ended(self) -> str:
        """How the next connection ended; waits until one does."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def free(self) -> None:
        """Let the holder leave (--busy)."""
        assert self.process.stdin
        self.process.stdin.write("free\n")
        self.process.stdin.flush()


class StartFake(Protocol):
    def __call__(self, *options: str) -> Fake: ...


@pytest.fixture
def rpcfake() -> Iterator[StartFake]:
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> Fake:
        process = subprocess.Popen([sys.executable, str(FAKE), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        _, _, port = process.stdout.readline().partition("port ")
        host = options[options.index("--host") + 1] if "--host" in options else "127.0.0.1"
        return Fake(Endpoint(host, int(port)), process)

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Endpoint, subprocess.Popen[str]]]]:
    """A program of tests/fakes, where it listens, and its process."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *options: str) -> tuple[Endpoint, subprocess.Popen[str]]:
        process = subprocess.Popen([sys.executable, str(FAKES / program), *options], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        return Endpoint("127.0.0.1", int(process.stdout.readline().split()[1])), process

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def dllamafake(serve) -> Callable[..., tuple[Endpoint, subprocess.Popen[str]]]:
    return functools.partial(serve, "dllamafake.py")


@pytest.fixture
def closed_port() -> Iterator[Endpoint]:
    """Nothing listens there, and nothing else will as long as the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield Endpoint("127.0.0.1", bound.getsockname()[1])
