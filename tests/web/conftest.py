"""The whole program with its dashboard, as a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from windows import chromium, look  # noqa: F401 - fixtures for those who look at the page

MAIN = Path(__file__).parents[2] / "main.py"
NDJSON = "application/x-ndjson"


@dataclasses.dataclass(frozen=True)
class Served:
    """`url` ends without a slash."""

    url: str
    token: str
    process: subprocess.Popen[str]
    errors: Path

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    @property
    def page(self) -> str:
        return f"{self.url}/#token={self.token}"

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.url + path, headers=headers, timeout=20, allow_redirects=False)

    def run(self, line: str, *, yes: bool = False, accept: str = "application/json", **headers: str) -> requests.Response:
        told = {"Authorization": f"Bearer {self.token}", "Accept": accept, **headers}
        return requests.post(f"{self.url}/api/run", json={"line": line, "yes": yes}, headers=told, timeout=40)

    def frames(self, line: str) -> list[dict[str, object]]:
        return [json.loads(each) for each in self.run(line, accept=NDJSON).text.splitlines()]

    def raw(self, request: bytes) -> bytes:
        """What it answers to these bytes, until it closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


StartServed = Callable[..., Served]


@pytest.fixture
def served(own_home: Path) -> Iterator[StartServed]:
    """`served()` runs `main.py dashboard` on any free port; words and variables may be added."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, port: int = 0, before: tuple[str, ...] = (), **variables: str) -> Served:
        errors = own_home / "stderr"
        with errors.open("w") as talk:
            process = subprocess.Popen(
                [sys.executable, str(MAIN), *before, "dashboard", "--port", str(port), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=talk,
                text=True,
                env=os.environ | variables,
                cwd=own_home,
            )
        started.append(process)
        assert process.stdout
        line = process.stdout.readline().strip()
        assert line.startswith("dashboard: http"), line + errors.read_text()
        url, _, token = line.removeprefix("dashboard: ").partition("/#token=")
        return Served(url, token, process, errors)

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(30)
        assert process.stdout
        process.stdout.close()
