"""Real workers behind relays: the same answer, what passed is counted, and whoever is lost is named."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import Worker
from relays import Program, answer, gone, plan, relays, until

from synaptic.endpoint import Endpoint
from synaptic.errors import EngineError
from synaptic.events import Bus, RelayCounted
from synaptic.models.model import Model
from synaptic.planning.plan import Plan
from synaptic.process.child import State
from synaptic.process.coordinator_entry import KEY
from synaptic.process.relayed import Relayed

pytestmark = [pytest.mark.anyio, pytest.mark.live]
Start = Callable[..., Worker]


async def test_the_answer_is_the_same_and_its_workers_keep_their_names(program: Program, rpc_worker: Start, demo: Model) -> None:
    wanted = plan(demo, rpc_worker(), rpc_worker())
    direct = await (plainly := program(Relayed())).ensure(wanted)
    text, shares = await answer(direct), direct.shares()
    await plainly.stop()
    bus = Bus()
    relayed = await program(bus=bus).ensure(wanted)
    assert await answer(relayed) == text
    assert relayed.shares() == shares
    assert (direct.has_relays, relayed.has_relays) == (False, True)
    started = psutil.Process(relayed.child.pid).cmdline()
    assert not [word for word in started for worker in wanted.workers if str(worker) in word]
    counted = [event for event in bus.history if isinstance(event, RelayCounted)]
    assert [event.endpoint for event in counted] == [str(worker) for worker in wanted.workers]
    assert direct.traffic() == ()
    for worker in relayed.traffic():
        assert worker.bytes_up > 300_000  # the weights
        assert worker.bytes_down > 20 * 1000
        assert worker.round_trips > 20
        assert worker.wait_ms > 0
    more = await answer(relayed), relayed.traffic()
    assert more[1][0].bytes_up > counted[0].bytes_up


async def test_they_end_with_their_coordinator_however_it_ends(program: Program, rpc_worker: Start, demo: Model, tmp_path: Path) -> None:
    coordinators, wanted = program(), plan(demo, rpc_worker(), rpc_worker())
    for end in ("stop", "kill"):
        coordinator = await coordinators.ensure(wanted)
        processes = relays(coordinator)
        assert len(processes) == 2
        assert not [each for each in processes if KEY in each.environ()]  # by which a coordinator is known
        assert {os.getpgid(each.pid) for each in processes} == {coordinator.child.pid}
        if end == "stop":
            await coordinators.stop()
        else:
            os.kill(coordinator.child.pid, signal.SIGKILL)
        await gone(processes)
        await until(coordinator, State.STOPPED if end == "stop" else State.FAILED)
    await coordinators.ensure(wanted)  # the workers are free, and alive
    assert len(list((tmp_path / "logs").glob("*.traffic"))) == 1


async def test_a_frozen_one_ends_with_a_coordinator_that_is_killed(program: Program, rpc_worker: Start, demo: Model) -> None:
    coordinator = await program().ensure(plan(demo, rpc_worker()))
    processes = relays(coordinator)
    processes[-1].suspend()
    os.kill(coordinator.child.pid, signal.SIGKILL)
    await gone(processes)


async def test_one_that_dies_is_named_although_nobody_asks(program: Program, rpc_worker: Start, demo: Model) -> None:
    coordinator = await program().ensure(plan(demo, rpc_worker()))
    relays(coordinator)[-1].kill()
    await until(coordinator, State.FAILED)
    assert coordinator.child.cause == "the relay to its workers ended (SIGKILL)"


async def test_a_worker_that_dies_is_named_although_nobody_asks(program: Program, rpc_worker: Start, demo: Model) -> None:
    first, second = rpc_worker(), rpc_worker()
    coordinator = await program().ensure(plan(demo, first, second))
    second.process.kill()
    await until(coordinator, State.FAILED)
    assert coordinator.child.cause == f"worker {second.endpoint} closed its connection"


async def test_one_that_is_absent_is_named_as_the_plan_has_it(program: Program, rpc_worker: Start, demo: Model, free_port: int) -> None:
    absent = Endpoint("127.0.0.1", free_port)
    with pytest.raises(EngineError, match=f"worker {re.escape(str(absent))} does not answer: it refused the connection"):
        await program().ensure(Plan(demo, (rpc_worker().endpoint, absent), 512))


async def test_another_program_adopts_both(program: Program, rpc_worker: Start, demo: Model) -> None:
    wanted = plan(demo, rpc_worker(), rpc_worker())
    before = program()
    old = await before.ensure(wanted)
    text, counted = await answer(old), old.traffic()
    before.let_go()
    after = program(Relayed())
    found = await after.ensure(wanted)
    assert (found.child.pid, found.has_relays, found.shares()) == (old.child.pid, True, old.shares())
    assert found.traffic()[0].bytes_up >= counted[0].bytes_up
    assert await answer(found) == text
    processes = relays(found)
    await after.stop()
    await gone(processes)


async def test_a_plan_without_workers_needs_none(program: Program, demo: Model) -> None:
    coordinator = await program().ensure(Plan(demo, (), 512))
    assert not coordinator.has_relays
    assert coordinator.traffic() == ()
    assert relays(coordinator) == []


async def test_cancelling_the_start_leaves_none_behind(program: Program, rpc_worker: Start, demo: Model) -> None:
    worker, coordinators = rpc_worker(), program()
    worker.process.send_signal(signal.SIGSTOP)  # it would wait for ever
    starting = asyncio.create_task(coordinators.ensure(plan(demo, worker)))
    async with asyncio.timeout(20):
        while not (up := coordinators.up()) or len(relays(up[0])) < 2:
            await asyncio.sleep(0.01)
            assert not starting.done()
    processes = relays(up[0])
    starting.cancel()
    await asyncio.wait([starting])
    await gone(processes)
