"""The whole program at a terminal, without and with a real engine."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

MAIN = Path(__file__).parents[2] / "main.py"


@pytest.fixture
def shell(terminal) -> Callable[..., object]:
    def start(**variables: str) -> object:
        child = terminal(str(MAIN), command=sys.executable, **variables)
        child.says("no workers yet · try: demo, or: rpc discover")
        child.prompts()
        return child

    return start


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_a_first_run_starts_nothing_and_leaves_nothing_behind(shell, own_home: Path) -> None:
    child = shell()
    assert children(child.pid) == []
    child.types("exit")
    assert child.ends() == 0
    assert not (own_home / ".synapticllamas.json").exists()


def test_help_in_the_shell_and_outside_is_the_same(shell) -> None:
    outside = subprocess.run([sys.executable, str(MAIN), "rpc", "add", "--help"], capture_output=True, text=True, timeout=55)
    assert outside.returncode == 0
    child = shell()
    for line in ("help rpc add", "rpc add --help"):
        child.types(line)
        child.says(*(text for text in outside.stdout.splitlines() if text))
        child.prompts()


def test_settings_that_could_not_be_read_are_said_once(terminal, own_home: Path) -> None:
    (own_home / ".synapticllamas.json").write_text('{"rpc_backends": [{"host": "127.0.0.1", "port": 70000}]}')
    child = terminal(str(MAIN), command=sys.executable)
    child.says("! ", "70000")
    child.prompts()
    child.types("exit")
    assert child.ends() == 0


def test_without_a_home_the_shell_works(terminal) -> None:
    child = terminal(str(MAIN), command=sys.executable, HOME="/nonexistent", SYNAPTICLLAMAS_HOME="")
    child.prompts()
    child.types("rpc list")
    child.says("no workers yet")
    child.prompts()
    child.send("\x04")
    assert child.ends() == 0


@pytest.mark.parametrize("end", ["ctrl-d", "sigterm", "sighup"])
def test_a_question_starts_a_coordinator_that_ends_with_the_shell(shell, llama_server: Path, end: str) -> None:
    child = shell()
    child.types("What is distributed inference?")
    child.says("→ demo · llama.cpp", "one language model on several computers", "tok/s")
    child.prompts()
    running = children(child.pid)
    assert [process.name() for process in running] == ["llama-server"]
    if end == "ctrl-d":
        child.send("\x04")
        child.says("stopping 1 coordinator")
    else:
        child.kill({"sigterm": signal.SIGTERM, "sighup": signal.SIGHUP}[end])
    assert child.ends() == {"ctrl-d": 0, "sigterm": 143, "sighup": 129}[end]
    _, alive = psutil.wait_procs(running, timeout=40)
    assert not alive


def test_a_coordinator_that_is_kept_survives_the_shell_and_belongs_to_the_next_that_uses_it(shell, terminal, llama_server: Path) -> None:
    child = shell()
    child.types("What is distributed inference?")
    child.says("tok/s")
    child.prompts()
    running = children(child.pid)
    try:
        child.types("exit --keep")
        assert child.ends() == 0
        assert all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in running)
        again = terminal(str(MAIN), command=sys.executable)
        again.says(f"demo is still up, left by process {child.pid}")
        again.prompts()
        again.types("What is distributed inference?")
        again.says("loaded there already", "tok/s")
        again.prompts()
        again.send("\x04")
        again.says("stopping 1 coordinator")
        assert again.ends() == 0
        assert psutil.wait_procs(running, timeout=30)[1] == []
    finally:
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
