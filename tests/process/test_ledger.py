from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from synaptic.endpoint import Endpoint
from synaptic.process.ledger import Entry, Ledger, identity, wait_gone

HERE = Endpoint("127.0.0.1", 50052)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def entry_of(process: subprocess.Popen[bytes]) -> Entry:
    return Entry(process.pid, str(identity(process.pid)), HERE, Path("/tmp/x.log"), "llama.cpp")


def test_another_session_finds_what_was_written(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    Ledger(tmp_path).write(entry_of(sleeper))
    assert Ledger(tmp_path).entries() == [entry_of(sleeper)]


def test_the_dead_are_forgotten(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    ledger = Ledger(tmp_path)
    ledger.write(entry_of(sleeper))
    sleeper.kill()
    sleeper.wait()
    assert ledger.entries() == []
    assert not list(tmp_path.iterdir())


def test_a_reused_pid_is_not_ours_and_is_never_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    stranger = Entry(sleeper.pid, "another boot/1", HERE, Path("x"), "llama.cpp")
    assert not stranger.is_alive
    stranger.signal(signal.SIGKILL)
    assert sleeper.poll() is None


def test_ours_is_signalled_and_waited_for(sleeper: subprocess.Popen[bytes]) -> None:
    entry = entry_of(sleeper)
    assert not wait_gone(entry, 0.1)
    entry.signal(signal.SIGTERM)
    assert wait_gone(entry, 5)  # a zombie counts as gone, although we have not reaped it


def test_identity_is_stable_and_of_one_start_only(sleeper: subprocess.Popen[bytes]) -> None:
    assert identity(sleeper.pid) == identity(sleeper.pid)
    assert identity(sleeper.pid) != identity(os.getpid())
    assert identity(2**22 + 1) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "started": "a", "endpoint": "::::", "log": "x", "engine": "y"}']
)
def test_a_broken_entry_is_dropped(tmp_path: Path, text: str) -> None:
    (tmp_path / "127.0.0.1-1.json").write_text(text)
    assert Ledger(tmp_path).entries() == []


def test_without_a_home_nothing_is_kept(sleeper: subprocess.Popen[bytes]) -> None:
    ledger = Ledger(None)
    ledger.write(entry_of(sleeper))
    assert ledger.entries() == []
