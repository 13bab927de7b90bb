"""Parked dllama workers: nobody can end them, a root gets them when it needs them, and they outlive whoever parked them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from dllamas import HOST
from ports import free_port

from synaptic.cluster.backend import State
from synaptic.cluster.dllama_workers import DllamaWorkers
from synaptic.endpoint import Endpoint
from synaptic.events import Bus, Noticed

pytestmark = pytest.mark.anyio


@pytest.fixture
def known(dllama_workers: DllamaWorkers) -> Callable[..., DllamaWorkers]:
    def know(*workers: object) -> DllamaWorkers:
        dllama_workers.set_known((getattr(each, "endpoint", each), "configured") for each in workers)
        return dllama_workers

    return know


def is_open(endpoint: Endpoint) -> bool:
    """As a port scan sees it: a connection, and nothing said."""
    try:
        socket.create_connection((endpoint.host, endpoint.port), timeout=30).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.live
async def test_a_scan_cannot_end_a_parked_worker_of_the_original(known, dllama_worker):
    worker, other = dllama_worker(), dllama_worker()
    workers = known(worker)
    assert await workers.parking.park([worker.endpoint]) == {}
    assert not is_open(worker.endpoint)
    assert is_open(other.endpoint)
    await asyncio.to_thread(other.process.wait, 30)  # so it goes with one that is not
    assert worker.process.poll() is None
    assert await workers.parking.unpark() == [worker.endpoint]
    await asyncio.to_thread(worker.wait_until, listens=True)
    assert [each.state for each in await workers.prove()] == [State.IDLE]


async def test_parked_it_is_in_use_and_a_root_gets_it_and_gives_it_back(known, builtin_worker):
    one, two = builtin_worker(), builtin_worker()
    workers = known(one, two)
    parking = workers.parking
    assert await parking.park([one.endpoint, two.endpoint]) == {}
    assert [each.state for each in workers.records()] == [State.IN_USE, State.IN_USE]
    assert "keeps it parked" in workers.records()[0].detail
    await parking.lend([one.endpoint])
    assert parking.parked == [two.endpoint]
    assert workers.holder(one.endpoint) is None
    workers.hold([one.endpoint], "a root")
    workers.release("a root")
    await parking.take_back([one.endpoint, two.endpoint])
    assert set(parking.parked) == {one.endpoint, two.endpoint}
    assert set(await parking.unpark()) == {one.endpoint, two.endpoint}
    await parking.take_back([one.endpoint])
    assert parking.parked == []


async def test_one_that_dies_is_told_of_and_forgotten(known, builtin_worker):
    worker = builtin_worker()
    bus = Bus()
    workers = DllamaWorkers(bus, known(worker)._look)
    workers.set_known([(worker.endpoint, "configured")])
    await workers.parking.park([worker.endpoint])
    with bus.subscribe(Noticed) as notices:
        worker.kill()
        async with asyncio.timeout(20):
            async for notice in notices:
                assert notice.text.startswith(f"parked worker {worker.endpoint} ended its session")
                break
    assert workers.parking.parked == []
    assert workers.holder(worker.endpoint) is None


async def test_what_cannot_be_parked_says_why(known, builtin_worker):
    worker, absent = builtin_worker(), Endpoint(HOST, free_port(HOST))
    workers = known(worker, absent)
    workers.hold([worker.endpoint], "another root")
    troubles = await workers.parking.park([worker.endpoint, absent])
    assert troubles[worker.endpoint] == "is in use by another root"
    assert "refuses connections" in troubles[absent]
    assert workers.parking.parked == []
    assert workers.holder(absent) is None


async def test_cut_off_while_it_parks_it_leaves_the_worker_as_it_was(known, builtin_worker):
    worker = builtin_worker()
    workers = known(worker)
    parking = asyncio.create_task(workers.parking.park([worker.endpoint]))
    await asyncio.sleep(0)
    parking.cancel()
    await asyncio.gather(parking, return_exceptions=True)
    async with asyncio.timeout(20):
        while [each.state for each in await workers.prove()] != [State.IDLE]:
            workers.set_known([])
            workers.set_known([(worker.endpoint, "configured")])
