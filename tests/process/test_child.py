"""A real process, and what happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from synaptic.errors import EngineError, SynapticError
from synaptic.events import Bus, ChildChanged
from synaptic.process.child import Child, Patience, State
from synaptic.process.llama_log import explain
from synaptic.process.spawn import Spec

pytestmark = pytest.mark.anyio
FAKE = Path(__file__).parents[1] / "fakes" / "child.py"
Make = Callable[..., Child]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Child] = []

    def child(
        *flags: str, start: float = 10.0, terms: tuple[float, ...] = (5.0, 5.0), bus: Bus | None = None, argv: tuple[str, ...] = ()
    ) -> Child:
        said: list[str] = []

        async def is_ready(_: Child) -> bool:
            return "ready" in said

        spec = Spec(
            "coordinator demo", argv or (sys.executable, str(FAKE), *flags), {"PATH": os.environ["PATH"]}, tmp_path / f"{len(made)}.log"
        )
        made.append(
            Child(
                spec,
                bus or Bus(),
                is_ready=is_ready,
                on_line=said.append,
                on_change=lambda state: said.clear() if state is State.STARTING else None,
                explain=lambda each: explain(each.last_words),
                patience=Patience(start=start, terms=terms),
            )
        )
        return made[-1]

    yield child
    for each in made:
        await each.stop()


async def until(child: Child, state: State) -> None:
    async with asyncio.timeout(30):
        while child.state is not state:
            await asyncio.sleep(0.01)


async def test_it_starts_serves_and_stops(make: Make) -> None:
    child = make()
    await child.ensure_ready()
    pid = child.pid
    assert pid
    assert child.state is State.READY
    await child.stop()
    assert child.state is State.STOPPED
    assert child.pid is None
    assert not psutil.pid_exists(pid)


async def test_however_many_ask_it_starts_once(make: Make) -> None:
    bus = Bus()
    child = make(bus=bus)
    await asyncio.gather(*(child.ensure_ready() for _ in range(20)))
    starts = [event for event in bus.history if isinstance(event, ChildChanged) and event.after == "starting"]
    assert len(starts) == 1


async def test_death_before_ready_reports_its_cause_and_last_words(make: Make) -> None:
    child = make("--die-at-start")
    with pytest.raises(EngineError, match="ended before it was ready .exit code 3.: worker 127.0.0.1:50222 does not answer") as caught:
        await child.ensure_ready()
    assert "failed to load" in caught.value.details
    assert str(child.spec.log) in str(caught.value.hint)
    assert child.state is State.FAILED


async def test_a_failed_child_can_be_started_again(make: Make) -> None:
    child = make("--die-at-start")
    for _ in range(2):
        with pytest.raises(EngineError):
            await child.ensure_ready()
    assert child.spec.log.with_suffix(".1.log").exists()


async def test_a_start_without_progress_is_given_up(make: Make) -> None:
    child = make("--hang", start=0.3)
    with pytest.raises(EngineError, match="showed no progress for 0.3 s"):
        await child.ensure_ready()
    assert child.pid is None


async def test_a_start_that_moves_on_is_waited_for(make: Make) -> None:
    child = make(start=1.5, argv=("sh", "-c", "while echo still loading; do sleep 0.1; done"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(child.ensure_ready(), 4.5)  # three times the patience, and it still had it


async def test_the_last_one_to_give_up_stops_the_start(make: Make) -> None:
    child = make("--hang")
    first, second = (asyncio.create_task(child.ensure_ready()) for _ in range(2))
    while child.pid is None:
        await asyncio.sleep(0.01)
    pid = child.pid
    first.cancel()
    await asyncio.wait([first])
    assert child.state is State.STARTING
    second.cancel()
    await asyncio.wait([second])
    await until(child, State.STOPPED)
    assert not psutil.pid_exists(pid)


async def test_stopping_during_the_start_tells_those_who_wait(make: Make) -> None:
    child = make("--hang")
    waiting = asyncio.create_task(child.ensure_ready())
    while child.pid is None:
        await asyncio.sleep(0.01)
    await child.stop()
    with pytest.raises(EngineError, match="was stopped while it started"):
        await waiting


async def test_an_end_nobody_asked_for_is_noticed_with_its_cause(make: Make) -> None:
    child = make()
    await child.ensure_ready()
    assert child.pid
    os.kill(child.pid, signal.SIGUSR1)
    await until(child, State.FAILED)
    assert child.cause == "a worker was lost"
    assert "Remote RPC server crashed" in child.last_words[-1]


@pytest.mark.parametrize("flag", ["--deaf", "--deaf-once"])
async def test_one_that_ignores_a_signal_is_ended_all_the_same(make: Make, flag: str) -> None:
    child = make(flag, terms=(0.2, 0.2))
    await child.ensure_ready()
    pid = child.pid
    assert pid
    await child.stop()
    assert child.state is State.STOPPED
    assert not psutil.pid_exists(pid)


async def test_what_it_started_ends_with_it(make: Make) -> None:
    child = make("--grandchild", "--deaf", terms=(0.2,))
    await child.ensure_ready()
    grandchild = int(next(line for line in child.last_words if line.startswith("grandchild")).split()[1])
    await child.stop()
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE  # killed; whoever adopted it has yet to reap it


async def test_it_inherits_nothing_that_it_should_not(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    child = make("--facts", str(file))
    with (tmp_path / "open").open("w"):  # a descriptor of ours
        await child.ensure_ready()
    facts = json.loads(file.read_text())
    assert facts["sid"] != os.getsid(0)
    assert facts["stdin"] == "/dev/null"
    assert facts["descriptors"] == [0, 1, 2]
    assert facts["cwd"] == "/"
    assert facts["core"] == 0
    assert facts["sigpipe_ignored"]
    assert set(facts["variables"]) <= {"PATH", "LC_CTYPE", "PWD"}
    assert child.spec.log.stat().st_mode & 0o777 == 0o600


async def test_fifty_cycles_leave_nothing_behind(make: Make) -> None:
    child = make()
    await child.ensure_ready()
    await child.stop()
    before = psutil.Process().num_fds()
    for _ in range(49):
        await child.ensure_ready()
        await child.stop()
    assert psutil.Process().num_fds() == before
    assert not [each for each in psutil.Process().children() if each.status() == psutil.STATUS_ZOMBIE]


async def test_a_program_that_cannot_run_is_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot start .*nowhere: no such file"):
        await make(argv=(str(tmp_path / "nowhere"),)).ensure_ready()
    script = tmp_path / "not-executable"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(EngineError, match="permission denied"):
        await make(argv=(str(script),)).ensure_ready()


async def test_a_log_that_cannot_be_written_is_named(make: Make, tmp_path: Path) -> None:
    child = make()
    child.spec.log.write_text("of the last start")
    (child.spec.log.with_suffix(".1.log") / "full").mkdir(parents=True)
    child.spec.log.with_suffix(".2.log").symlink_to("/proc/1")  # cannot become the third
    (child.spec.log.with_suffix(".3.log") / "full").mkdir(parents=True)
    (child.spec.log.with_suffix(".4.log") / "full").mkdir(parents=True)
    with pytest.raises(SynapticError, match="cannot write"):
        await child.ensure_ready()
    assert child.state is State.FAILED
