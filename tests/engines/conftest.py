from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import end

FAKELLAMA = Path(__file__).parents[1] / "fakes" / "fakellama.py"
Serve = Callable[..., str]


@pytest.fixture
def fakellama() -> Iterator[Serve]:
    """Starts a llama-server that misbehaves as told; gives its URL."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(faults: str = "", *words: str, key: str = "", **variables: str) -> str:
        process = subprocess.Popen(
            [sys.executable, str(FAKELLAMA), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"FAKE": faults} | variables | ({"LLAMA_API_KEY": key} if key else {}),
        )
        processes.append(process)
        if "never_ready" in faults:
            return f"http://127.0.0.1:{int(process.stdout.readline().split()[1])}"
        return next(line.split()[-1].decode() for line in process.stderr if b"listening on" in line)

    yield start
    for process in processes:
        end(process)
        process.stdout.close()
        process.stderr.close()
