"""Several programs on one machine, and what a killed one leaves behind."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faq
import psutil
import pytest
from conftest import DEMO
from shells import Shell, end_engines, engines_of

from synaptic.process.coordinator_ledger import CoordinatorLedger

pytestmark = pytest.mark.live
TRIALS = int(os.environ.get("KILL_TRIALS", "12"))
QUESTION = "What is a worker?"
ANSWER = next(entry.answer for entry in faq.entries() if QUESTION in entry.questions)


@pytest.fixture
def shell(own_home: Path, llama_server: Path) -> Iterator[Callable[[], Shell]]:
    started: list[Shell] = []

    def start() -> Shell:
        started.append(Shell(own_home))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture(autouse=True)
def nothing_stays(own_home: Path) -> Iterator[None]:
    yield from end_engines(own_home)


@pytest.fixture
def spread(run, rpc_worker) -> list[str]:
    """Two real workers, configured, and distributed on."""
    workers = [str(rpc_worker().endpoint) for _ in range(2)]
    run("rpc", "add", *workers)
    assert run("distributed", "on").code == 0
    return workers


def written(home: Path) -> set[int]:
    """Of the processes in the ledger, once every one that a killed shell had forked runs its own program."""
    ledger = CoordinatorLedger(home / "state" / "coordinators")
    while not all(entry.process for entry in ledger.entries()):
        time.sleep(0.001)
    return {entry.process.pid for entry in ledger.entries() if entry.process}


def pids(home: Path) -> set[int]:
    return {process.pid for process in engines_of(home)}


def test_two_shells_share_one_and_its_owner_ends_it(shell, run, spread, own_home: Path) -> None:
    first, second = shell(), shell()
    first.types("coordinator start demo")
    first.says("demo is ready")
    second.types(f"{QUESTION} using demo", "coordinator list")
    said = second.says(f"process {first.process.pid}\t")
    assert ANSWER in said
    assert f"demo is run by process {first.process.pid}; it is shared" in said
    assert "loaded there already" in said
    assert second.ends() == 0
    (engine,) = engines_of(own_home)
    assert run("rpc", "check", "--json").json["backends"][0]["detail"] == f"in use by coordinator demo of process {first.process.pid}"
    first.types("exit")
    assert first.ends() == 0
    assert psutil.wait_procs([engine], timeout=30)[1] == []


def test_another_model_is_refused_with_the_owners_name(shell, run, spread, own_home: Path) -> None:
    (own_home / "other.gguf").write_bytes(DEMO.read_bytes())
    first = shell()
    first.types("coordinator start demo")
    first.says("demo is ready")
    done = run("ask", QUESTION, "--model", str(own_home / "other.gguf"))
    assert done.code == 4
    assert f"is in use by coordinator demo of process {first.process.pid}" in done.err
    assert run("ask", QUESTION, "--model", "demo").out == ANSWER + "\n"


def test_two_models_that_want_the_same_workers_at_once(shell, spread, own_home: Path) -> None:
    other = own_home / "other.gguf"
    other.write_bytes(DEMO.read_bytes())
    first, second = shell(), shell()
    first.types("coordinator start demo")
    second.types(f"coordinator start {other}")
    said = [each.says_or_ends("is ready") for each in (first, second)]
    assert len(pids(own_home)) == 1
    assert sorted("is ready" in each for each in said) == [False, True]
    (refused,) = [each for each in said if "is ready" not in each]
    assert "is in use by coordinator" in refused


def test_what_a_killed_shell_leaves_is_found_used_and_ended(shell, run, spread, own_home: Path) -> None:
    first = shell()
    first.types("coordinator start demo")
    first.says("demo is ready")
    first.kill()
    (engine,) = engines_of(own_home)
    assert pids(own_home) == written(own_home)
    (found,) = run("coordinator", "list", "--json").json["coordinators"]
    assert (found["pid"], found["state"], found["owner"], found["backends"]) == (engine.pid, "ready", None, spread)
    assert sum(share["layers"] for share in found["placement"]) == 4
    assert "none: it was left" in run("status").out
    assert run("ask", QUESTION, "--model", "demo").out == ANSWER + "\n"
    assert pids(own_home) == {engine.pid}  # one question does not end what was left
    next_one = shell()
    next_one.types("status", f"{QUESTION} using demo", "coordinator list")
    said = next_one.says("this process")
    assert "demo is still up, left by process" in said
    assert ANSWER in said
    next_one.types("exit")
    assert next_one.ends() == 0
    assert psutil.wait_procs([engine], timeout=30)[1] == []


def test_what_is_kept_can_be_stopped_from_the_command_line(shell, run, own_home: Path) -> None:
    first = shell()
    first.types("coordinator start demo", "exit --keep")
    assert "demo is ready" in first.says("demo is ready")
    assert first.process.wait(60) == 0
    assert len(pids(own_home)) == 1
    assert run("coordinator", "stop", "--json").json["stopped"] == ["demo"]
    assert pids(own_home) == set()
    assert run("coordinator", "list", "--json").json["coordinators"] == []
    assert run("coordinator", "stop").out == "no coordinator runs\n"


@pytest.mark.timeout(60 + 10 * TRIALS)
def test_no_orphans_however_the_shell_is_killed(shell, run, spread, own_home: Path) -> None:
    moments = random.Random(1)
    folder = own_home / "state" / "coordinators"
    for trial in range(TRIALS):
        for file in folder.glob("ledger.lock"):
            file.unlink()
        victim = shell()
        victim.types("coordinator start demo", "coordinator restart demo", "coordinator stop demo", "coordinator start demo")
        while not list(folder.glob("ledger.lock")) and victim.process.poll() is None:
            time.sleep(0.001)  # until it has begun
        time.sleep(moments.uniform(0.0, 1.2))
        victim.kill()
        known = written(own_home)
        assert pids(own_home) <= known, f"trial {trial}"
        done = run("ask", QUESTION, "--model", "demo")
        assert (done.code, done.out) == (0, ANSWER + "\n"), f"trial {trial}: {done.err}"
    run("coordinator", "stop")
    assert pids(own_home) == set()
    assert written(own_home) == set()


@pytest.mark.timeout(60 + 10 * TRIALS)
def test_no_orphans_when_it_is_killed_while_it_starts_one(shell, own_home: Path) -> None:
    """Between the entry and the pid in it: the process was forked, or not, or its program is being loaded."""
    folder = own_home / "state" / "coordinators"
    for trial in range(TRIALS):
        victim = shell()
        victim.types("coordinator start demo")
        while not any(folder.glob("*.json")):  # written before the process is there
            assert victim.process.poll() is None
        time.sleep(trial / TRIALS / 200)  # a fork takes some milliseconds
        victim.kill()
        known = written(own_home)
        assert pids(own_home) <= known, f"trial {trial}"
        for process in engines_of(own_home):
            process.kill()
            process.wait(30)
