"""With relays in between, an answer goes on just as it does without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cabled import Cabled, World, freeze, kill
from conftest import Worker

from synaptic.process.relayed import Relayed

pytestmark = [pytest.mark.anyio, pytest.mark.live]


@pytest.mark.parametrize("harm", [kill, freeze])
async def test_it_goes_on_and_names_the_worker(
    tmp_path: Path, rpc_worker: Callable[..., Worker], llama_server: Path, harm: Callable[[Cabled], None]
) -> None:
    world = World(tmp_path, [Cabled(rpc_worker()) for _ in range(2)], llama_server, Relayed(True, 2.0))
    try:
        undisturbed = await world.ask()
        assert all(each.has_relays for each in world.coordinators.up())
        reply = await world.ask((3, harm, world.workers[0]))
        assert reply.text == undisturbed.text
        assert [failover.lost for failover in reply.failovers] == [(str(world.workers[0].endpoint),)]
    finally:
        await world.coordinators.stop()
        for worker in world.workers:
            worker.close()
