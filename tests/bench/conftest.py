from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import DEMO, end
from engines.conftest import fakellama  # noqa: F401 - a fixture here too

from synaptic.environment import Environment
from synaptic.session import Session
from synaptic.settings import Settings

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture
def session_with(tmp_path: Path) -> Callable[..., Session]:
    def make(**variables: str) -> Session:
        streams = (io.StringIO() for _ in range(3))
        return Session(Environment({"SYNAPTICLLAMAS_HOME": str(tmp_path)} | variables, *streams), Settings.load(tmp_path / "s.json", {}))

    return make


@pytest.fixture
def program() -> Iterator[Callable[..., int]]:
    """Starts one of the fakes; gives the port that it tells."""
    processes: list[subprocess.Popen[str]] = []

    def start(name: str, *words: str) -> int:
        process = subprocess.Popen(
            [sys.executable, str(FAKES / name), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        processes.append(process)
        return int(process.stdout.readline().split()[1])

    yield start
    for process in processes:
        end(process)
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def figures(program: Callable[..., int], tmp_path: Path) -> Callable[[str], str]:
    """The URL of a server whose /metrics say this."""

    def serve(text: str) -> str:
        file = tmp_path / "metrics.txt"
        file.write_text(text)
        return f"http://127.0.0.1:{program('metricsfake.py', str(file))}"

    return serve


@pytest.fixture
def serving(llama_server: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """The URL of a real llama-server with the demo model, started with these words."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*words: str, model: Path = DEMO) -> str:
        argv = [str(llama_server), "-m", str(model), "--host", "127.0.0.1", "--port", "0", "--no-ui", "--offline", "-c", "512", *words]
        log = tmp_path / f"llama-server-{len(processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        processes.append(process)
        while not (found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", log.read_text(errors="replace"))):
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        return found[1]

    yield start
    for process in processes:
        end(process)
