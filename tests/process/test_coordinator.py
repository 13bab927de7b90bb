"""The real llama-server over real workers: where the model lies, and what is said when it cannot."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from conftest import DEMO, Worker

from synaptic.cluster.backend import State as Health
from synaptic.cluster.pool import Pool
from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.errors import EngineError
from synaptic.events import Bus, ChildChanged, ModelPlaced, WorkProgressed
from synaptic.models.catalog import Catalog
from synaptic.models.model import Model
from synaptic.planning.plan import Plan
from synaptic.process.child import Patience, State
from synaptic.process.coordinator import answers, command_line
from synaptic.process.coordinators import Coordinators
from synaptic.process.install import Engines
from synaptic.process.placement import HERE

pytestmark = [pytest.mark.anyio, pytest.mark.live]
Start = Callable[..., Worker]


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def pool(bus: Bus) -> Pool:
    return Pool(bus)


@pytest.fixture
def demo() -> Model:
    return Catalog(lambda: (), DEMO).find("demo")


@pytest.fixture
async def coordinators(
    llama_server: Path, tmp_path: Path, bus: Bus, pool: Pool, request: pytest.FixtureRequest
) -> AsyncIterator[Coordinators]:
    """Its parameter is the patience with a start, in seconds."""
    engines = Engines(Environment.of_this_process())
    patience = Patience(start=getattr(request, "param", 30.0), terms=(1.0, 1.0))
    made = Coordinators(engines, pool, bus, logs=tmp_path / "logs", variables=os.environ, tuning=lambda: (patience, 1))
    yield made
    await made.stop()


def plan(model: Model, *workers: Worker) -> Plan:
    return Plan(model, tuple(worker.endpoint for worker in workers), 512)


async def test_every_worker_holds_a_part_and_it_is_proven(coordinators: Coordinators, rpc_worker: Start, demo: Model, bus: Bus) -> None:
    workers = [rpc_worker(), rpc_worker()]
    coordinator = await coordinators.ensure(plan(demo, *workers))
    shares = {share.endpoint: share for share in coordinator.shares()}
    held = [shares[str(worker.endpoint)] for worker in workers]
    assert sum(share.layers for share in held) == demo.layers
    assert all(share.model_bytes > 0 for share in held)
    assert sum(share.model_bytes for share in held) + shares[HERE].model_bytes == pytest.approx(demo.bytes, rel=0.1)
    assert coordinator.placement.offloaded == (5, 5)
    assert [event.model for event in bus.history if isinstance(event, ModelPlaced)] == ["demo"]


async def test_its_workers_are_held_while_it_lives_and_free_afterwards(
    coordinators: Coordinators, rpc_worker: Start, demo: Model, pool: Pool
) -> None:
    worker = rpc_worker()
    pool.add([worker.endpoint], "configured")
    await coordinators.ensure(plan(demo, worker))
    assert [backend.state for backend in await pool.check()] == [Health.IN_USE]
    assert await coordinators.stop() == ["demo"]
    assert [backend.state for backend in await pool.check()] == [Health.IDLE]
    assert worker.process.poll() is None


async def test_however_many_ask_one_starts(coordinators: Coordinators, rpc_worker: Start, demo: Model, bus: Bus) -> None:
    wanted = plan(demo, rpc_worker())
    found = await asyncio.gather(*(coordinators.ensure(wanted) for _ in range(10)))
    assert len(set(map(id, found))) == 1
    assert len([event for event in bus.history if isinstance(event, ChildChanged) and event.after == "starting"]) == 1


async def test_another_plan_for_the_same_workers_takes_the_first_ones_place(
    coordinators: Coordinators, rpc_worker: Start, demo: Model
) -> None:
    worker = rpc_worker()
    first = await coordinators.ensure(plan(demo, worker))
    other = dataclasses.replace(demo, name="other")
    await coordinators.ensure(plan(other, worker))
    assert first.state is State.STOPPED
    assert [each.plan.model.name for each in coordinators.up()] == ["other"]


async def test_it_listens_on_loopback_with_a_key_that_no_one_sees(coordinators: Coordinators, demo: Model) -> None:
    coordinator = await coordinators.ensure(plan(demo))
    assert coordinator.url
    assert coordinator.child.pid
    process = psutil.Process(coordinator.child.pid)
    assert {each.laddr.ip for each in process.net_connections("tcp")} == {"127.0.0.1"}
    assert coordinator.key not in " ".join(process.cmdline())
    assert coordinator.key not in coordinator.child.spec.log.read_text()
    assert await answers(coordinator.url, coordinator.key)
    assert not await answers(coordinator.url, "another key")


async def test_a_worker_that_is_gone_at_the_start_is_named(coordinators: Coordinators, demo: Model, free_port: int) -> None:
    gone = Endpoint("127.0.0.1", free_port)
    with pytest.raises(EngineError, match=f"worker {gone} does not answer"):
        await coordinators.ensure(Plan(demo, (gone,), 512))
    assert coordinators.up() == []


@pytest.mark.parametrize("coordinators", [3.0], indirect=True)
async def test_a_silent_worker_does_not_hang_the_start_for_ever(coordinators: Coordinators, demo: Model) -> None:
    with socket.socket() as tarpit:
        tarpit.bind(("127.0.0.1", 0))
        tarpit.listen()
        silent = Endpoint(*tarpit.getsockname())
        with pytest.raises(EngineError, match="showed no progress for 3 s"):
            await coordinators.ensure(Plan(demo, (silent,), 512))
    assert coordinators.up() == []


async def test_giving_up_during_the_load_leaves_nothing(coordinators: Coordinators, demo: Model) -> None:
    with socket.socket() as tarpit:
        tarpit.bind(("127.0.0.1", 0))
        tarpit.listen()
        waiting = asyncio.create_task(coordinators.ensure(Plan(demo, (Endpoint(*tarpit.getsockname()),), 512)))
        while not coordinators.up():
            await asyncio.sleep(0.01)
        (coordinator,) = coordinators.up()
        pid = coordinator.child.pid
        assert pid
        waiting.cancel()
        await asyncio.wait([waiting])
        await coordinator.stop()
    assert not psutil.pid_exists(pid)


async def test_a_worker_killed_while_idle_is_found_at_the_next_start(coordinators: Coordinators, rpc_worker: Start, demo: Model) -> None:
    worker = rpc_worker()
    coordinator = await coordinators.ensure(plan(demo, worker))
    worker.process.kill()
    worker.process.wait()
    await coordinator.stop()  # it aborts on its way out; that is no failure of ours
    assert coordinator.state is State.STOPPED


async def test_an_end_nobody_asked_for_is_noticed_and_frees_the_workers(
    coordinators: Coordinators, rpc_worker: Start, demo: Model, pool: Pool, bus: Bus
) -> None:
    worker = rpc_worker()
    pool.add([worker.endpoint], "configured")
    coordinator = await coordinators.ensure(plan(demo, worker))
    assert coordinator.child.pid
    with bus.subscribe(ChildChanged) as changes:
        os.kill(coordinator.child.pid, signal.SIGKILL)
        change = await asyncio.wait_for(anext(aiter(changes)), 30)
    assert (change.after, change.cause) == ("failed", "ended unexpectedly (SIGKILL)")
    assert pool.holder(worker.endpoint) is None


@pytest.mark.parametrize(("content", "cause"), [(b"", "."), (b"GGUF\x03\0\0\0" + b"\xff" * 64, "."), (b"no model at all", ".")])
async def test_a_model_file_that_is_none_ends_in_words(
    coordinators: Coordinators, demo: Model, tmp_path: Path, content: bytes, cause: str
) -> None:
    broken = tmp_path / "broken model.gguf"
    broken.write_bytes(content)
    with pytest.raises(EngineError, match="coordinator demo ended before it was ready .exit code 1." + cause):
        await coordinators.ensure(Plan(dataclasses.replace(demo, path=broken), (), 512))


@pytest.mark.parametrize("name", ["with space.gguf", "with'quote\".gguf", "-m.gguf", "--help", "línea\nnueva.gguf"])
async def test_any_file_name_is_one_argument(coordinators: Coordinators, demo: Model, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(DEMO.read_bytes())
    coordinator = await coordinators.ensure(Plan(dataclasses.replace(demo, path=path), (), 512))
    assert coordinator.state is State.READY


def test_all_layers_go_to_the_workers_and_nothing_secret_is_in_argv(demo: Model) -> None:
    words = command_line(Path("/bin/llama-server"), Plan(demo, (Endpoint("a", 1), Endpoint("b", 2)), 512), 3)
    text = " ".join(words)
    assert "--rpc a:1,b:2 -ngl 999" in text
    assert "--host 127.0.0.1 --port 0 --no-ui" in text
    assert "--cache-ram 0" in text
    assert "key" not in text
    assert "--rpc" not in command_line(Path("/bin/llama-server"), Plan(demo, (), 512))


async def test_loading_is_told_as_progress(coordinators: Coordinators, rpc_worker: Start, demo: Model, bus: Bus) -> None:
    await coordinators.ensure(plan(demo, rpc_worker()))
    told = [event for event in bus.history if isinstance(event, WorkProgressed)]
    assert told
    assert all(event.total == demo.layers and event.unit == "layers" for event in told)
