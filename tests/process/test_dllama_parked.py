"""A dllama-api takes workers that are parked, and they are parked again when it has ended."""

from __future__ import annotations

import pytest
from dllamas import plan

pytestmark = [pytest.mark.anyio, pytest.mark.live]


async def test_parked_workers_serve_and_are_parked_again(dllama_apis, dllama_worker, dllama_workers):
    worker = dllama_worker()
    dllama_workers.set_known([(worker.endpoint, "configured")])
    parking = dllama_workers.parking
    assert await parking.park([worker.endpoint]) == {}
    apis = dllama_apis()
    coordinator = await apis.ensure(plan(worker))
    assert (coordinator.state.value, parking.parked) == ("ready", [])
    await apis.stop()
    assert parking.parked == [worker.endpoint]
    await parking.unpark()
    worker.wait_until(listens=True)
