"""Real rpc-servers on this machine, started, found again and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from synaptic.cluster.backend import Backend, State
from synaptic.cluster.handshake import shake
from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.errors import BackendError, EngineError, UsageError
from synaptic.events import Bus, Noticed
from synaptic.process.install import Engines
from synaptic.process.workers import Workers

pytestmark = [pytest.mark.anyio, pytest.mark.live]


@pytest.fixture
def bus() -> Bus:
    return Bus()


def make(home: Path, bus: Bus) -> Workers:
    environment = Environment.of_this_process()
    return Workers(Engines(environment), bus, state=home / "workers", logs=home / "logs", variables=os.environ)


@pytest.fixture
async def workers(ggml_rpc_server: Path, tmp_path: Path, bus: Bus) -> AsyncIterator[Workers]:
    made = make(tmp_path, bus)
    yield made
    await made.stop()


async def is_idle(endpoint: Endpoint) -> bool:
    answer = await shake(endpoint)
    return isinstance(answer, Backend) and answer.state is State.IDLE


async def test_they_start_on_ports_of_their_own_and_answer(workers: Workers, free_port: int) -> None:
    started = await workers.start(2, port=free_port, threads=1)
    assert len({worker.endpoint for worker in started}) == 2
    assert [await is_idle(worker.endpoint) for worker in started] == [True, True]
    assert workers.all() == started


async def test_a_taken_port_is_passed_over(workers: Workers, free_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        (worker,) = await workers.start(1, port=free_port)
    assert worker.endpoint.port != free_port


async def test_another_session_finds_and_stops_them(workers: Workers, tmp_path: Path, free_port: int) -> None:
    (worker,) = await workers.start(1, port=free_port, stay=True)
    other = make(tmp_path, Bus())
    assert other.all() == [worker]
    assert await other.stop([worker.endpoint]) == [worker.endpoint]
    assert not psutil.pid_exists(worker.pid) or psutil.Process(worker.pid).status() == psutil.STATUS_ZOMBIE
    assert other.all() == []


async def test_only_those_that_shall_not_stay_end_with_the_session(workers: Workers, free_port: int) -> None:
    (staying,) = await workers.start(1, port=free_port, stay=True)
    (ending,) = await workers.start(1, port=free_port)
    assert workers.ending_with_us() == [ending.endpoint]
    await workers.stop([ending.endpoint])
    assert workers.all() == [staying]


async def test_one_that_dies_is_started_again_on_its_port(workers: Workers, bus: Bus, free_port: int) -> None:
    (worker,) = await workers.start(1, port=free_port)
    with bus.subscribe(Noticed) as notices:
        told = aiter(notices)
        os.kill(worker.pid, signal.SIGKILL)
        notice = await anext(told)
        assert f"worker {worker.endpoint} ended unexpectedly (SIGKILL); starting it again in" in notice.text
        assert workers.all() == []
        assert (await asyncio.wait_for(anext(told), 40)).text == f"worker {worker.endpoint} is back"
    (again,) = workers.all()
    assert (again.endpoint, again.pid == worker.pid) == (worker.endpoint, False)
    assert await is_idle(again.endpoint)


async def test_one_that_waits_to_be_started_again_can_be_stopped(workers: Workers, bus: Bus, free_port: int) -> None:
    (worker,) = await workers.start(1, port=free_port)
    with bus.subscribe(Noticed) as notices:
        os.kill(worker.pid, signal.SIGKILL)
        await anext(aiter(notices))
    assert await workers.stop([worker.endpoint]) == [worker.endpoint]
    await asyncio.sleep(1.6)  # longer than the first wait can be
    assert workers.all() == []


async def test_all_or_none(workers: Workers) -> None:
    with pytest.raises(EngineError, match="cannot listen on 127.0.0.1|no free port"):
        await workers.start(3, port=65534)
    assert workers.all() == []


async def test_two_on_one_port_have_logs_of_their_own(workers: Workers) -> None:
    (one,) = await workers.start(1, host="127.0.45.2")
    (other,) = await workers.start(1, host="127.0.45.3", port=one.endpoint.port)
    assert one.log != other.log


async def test_what_cannot_be_is_said(workers: Workers) -> None:
    with pytest.raises(UsageError, match="0 workers"):
        await workers.start(0)
    with pytest.raises(EngineError, match="cannot listen on 192.0.2.1"):
        await workers.start(1, host="192.0.2.1")
    with pytest.raises(BackendError, match="no worker that was started here"):
        await workers.stop([Endpoint("127.0.0.1", 1)])
