"""Real processes that are not our children, or as good as not: their end is noticed, and nobody else is signalled."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from synaptic.events import Bus, ChildSpoke
from synaptic.process.adopted import Adopted
from synaptic.process.child import Child, Patience, State
from synaptic.process.ledger import identity
from synaptic.process.spawn import Spec

pytestmark = pytest.mark.anyio
FAKE = Path(__file__).parents[1] / "fakes" / "child.py"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*flags: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "child.log").open("ab") as log:
            started.append(subprocess.Popen([sys.executable, str(FAKE), *flags], stdout=log, stderr=log, start_new_session=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


async def until_log(path: Path, text: str) -> None:
    async with asyncio.timeout(20):
        while not path.exists() or text not in path.read_text():
            await asyncio.sleep(0.01)


def child_of(tmp_path: Path, bus: Bus, heard: list[str], *, term: float = 20.0, **hooks: Callable[..., bool]) -> Child:
    async def is_ready(_: Child) -> bool:
        return "ready" in heard

    spec = Spec("coordinator demo", ("nothing",), {}, tmp_path / "child.log")
    return Child(spec, bus, is_ready=is_ready, on_line=heard.append, patience=Patience(start=20.0, terms=(term, term)), **hooks)


@pytest.fixture(params=["pidfd", "polling"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the system offers, and as on a system that has no pidfd."""
    if request.param == "polling":
        monkeypatch.delattr(os, "pidfd_open")


@pytest.mark.usefixtures("both_ways")
async def test_its_end_is_noticed_and_nothing_stays_open(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process, before = start(), psutil.Process().num_fds()
    running = Adopted(process.pid, str(identity(process.pid)))
    assert not running.exited.done()
    process.kill()
    assert await asyncio.wait_for(running.exited, 20) is None
    assert psutil.Process().num_fds() == before
    assert not running.signal(signal.SIGTERM)


@pytest.mark.usefixtures("both_ways")
async def test_a_reused_pid_counts_as_ended_and_is_left_alone(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = start()
    running = Adopted(process.pid, "another boot/1")
    assert running.exited.done()
    assert not running.signal(signal.SIGKILL)
    assert process.poll() is None


async def test_one_that_stays_is_let_go_without_a_trace(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    process, before = start(), psutil.Process().num_fds()
    Adopted(process.pid, str(identity(process.pid))).let_go()
    assert psutil.Process().num_fds() == before
    assert process.poll() is None


async def test_its_whole_group_is_signalled(start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    process = start("--grandchild")
    await until_log(tmp_path / "child.log", "ready")
    grandchild = psutil.Process(int((tmp_path / "child.log").read_text().split()[1]))
    assert Adopted(process.pid, str(identity(process.pid))).signal(signal.SIGKILL)
    _, alive = psutil.wait_procs([grandchild], timeout=20)
    assert not alive or grandchild.status() == psutil.STATUS_ZOMBIE


async def test_what_its_log_says_already_is_heard_and_not_told_again(start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    process, bus, heard = start(), Bus(), []
    await until_log(tmp_path / "child.log", "ready")
    child = child_of(tmp_path, bus, heard)
    child.adopt(Adopted(process.pid, str(identity(process.pid))), is_ready=True)
    assert (child.state, child.pid, heard) == (State.READY, process.pid, ["ready"])
    with bus.subscribe(ChildSpoke) as spoken:
        process.send_signal(signal.SIGUSR1)
        assert "Remote RPC server crashed" in (await asyncio.wait_for(anext(aiter(spoken)), 20)).line
    assert await child.exited(20)
    assert child.state is State.FAILED
    assert [each.line for each in bus.history if isinstance(each, ChildSpoke)] == heard[1:]


async def test_one_that_is_still_on_its_way_is_waited_for(start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    heard: list[str] = []
    process = start("--hang")
    child = child_of(tmp_path, Bus(), heard)
    (tmp_path / "child.log").touch()
    child.adopt(Adopted(process.pid, str(identity(process.pid))), is_ready=False)
    waiting = asyncio.create_task(child.ensure_ready())
    with (tmp_path / "child.log").open("a") as log:
        log.write("ready\n")
    await asyncio.wait_for(waiting, 20)
    assert (child.state, child.pid) == (State.READY, process.pid)
    await child.stop()
    assert process.wait(20) in (0, -signal.SIGTERM)


@pytest.mark.parametrize("flag", ["--deaf", "--deaf-once"])
async def test_one_that_ignores_a_signal_is_ended_all_the_same(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, flag: str
) -> None:
    process = start(flag)
    await until_log(tmp_path / "child.log", "ready")
    child = child_of(tmp_path, Bus(), [], term=0.3)
    child.adopt(Adopted(process.pid, str(identity(process.pid))), is_ready=True)
    await child.stop()
    assert process.wait(20) in (0, -signal.SIGKILL)
    assert child.state is State.STOPPED


async def test_one_that_another_program_stopped_did_not_fail(start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    process = start()
    await until_log(tmp_path / "child.log", "ready")
    child = child_of(tmp_path, Bus(), [], was_stopped_elsewhere=lambda: True)
    child.adopt(Adopted(process.pid, str(identity(process.pid))), is_ready=True)
    process.terminate()
    assert await child.exited(20)
    assert (child.state, child.cause) == (State.STOPPED, "")


async def test_a_log_that_is_gone_costs_only_its_words(start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    process = start()
    await until_log(tmp_path / "child.log", "ready")
    (tmp_path / "child.log").unlink()
    child = child_of(tmp_path, Bus(), [])
    child.adopt(Adopted(process.pid, str(identity(process.pid))), is_ready=True)
    await child.stop()
    assert process.wait(20) == 0
