"""The script around a rank of vLLM behind the first one, run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import REPOSITORY

SCRIPT = REPOSITORY / "config" / "deploy" / "bin" / "vllm-rank"
NOBODY = "http://127.0.0.1:1/health"
SLEEP = "import time; time.sleep(600)"
RANK = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"  # with a process of its own
Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Run]:
    started: list[subprocess.Popen[str]] = []

    def start(head: str, *words: str, patience: float = 0.5) -> subprocess.Popen[str]:
        asked = [sys.executable, str(SCRIPT), "--head", head, "--every", "0.1", "--patience", str(patience), "--", *words]
        started.append(subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        with process:
            for each in [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
                each.kill()
            process.kill()


def family(process: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """Its processes, once there are so many."""
    while len(found := psutil.Process(process.pid).children(recursive=True)) < count:
        time.sleep(0.01)
    return found


def seen(fake: subprocess.Popen[str], line: str) -> None:
    assert fake.stdout
    while line not in fake.stdout.readline():
        pass


@pytest.fixture
def head() -> Iterator[tuple[subprocess.Popen[str], str]]:
    words = [sys.executable, str(REPOSITORY / "tests" / "fakes" / "vllmfake.py")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        yield process, f"http://127.0.0.1:{process.stdout.readline().split()[1]}/health"
        process.kill()


def test_it_ends_with_all_its_processes_when_the_first_one_is_lost(run: Run, head: tuple[subprocess.Popen[str], str]) -> None:
    first, url = head
    rank = run(url, sys.executable, "-c", RANK, patience=4.0)
    own = family(rank, 2)
    for _ in range(2):  # a whole question and its answer
        seen(first, "GET /health")
    first.kill()
    assert rank.wait(30) == 75
    assert rank.stderr
    assert f"{url} does not answer: ending, to join the next one" in rank.stderr.read()
    assert not [each for each in own if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_before_the_first_one_was_there_it_is_waited_for(run: Run) -> None:
    """Loading takes minutes: longer than the patience of 0.5 s with one that was lost."""
    rank = run(NOBODY, sys.executable, "-c", "import time; time.sleep(2)")
    assert rank.wait(30) == 0


@pytest.mark.parametrize(("code", "status"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_its_end_is_that_of_the_rank(run: Run, code: str, status: int) -> None:
    assert run(NOBODY, sys.executable, "-c", code).wait(30) == status


def test_what_systemd_says_is_handed_on(run: Run) -> None:
    rank = run(NOBODY, sys.executable, "-c", RANK)
    own = family(rank, 2)
    os.kill(rank.pid, signal.SIGTERM)
    assert rank.wait(30) == 128 + signal.SIGTERM
    psutil.wait_procs(own, timeout=30)
    assert not [each for each in own if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_words_that_are_missing_are_asked_for() -> None:
    said = subprocess.run([sys.executable, SCRIPT, "--head", NOBODY, "--"], capture_output=True, text=True, check=False)
    assert (said.returncode, "no command follows --" in said.stderr) == (2, True)
    assert Path(SCRIPT).stat().st_mode & 0o111
