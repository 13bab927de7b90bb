"""An answer over real workers goes on when one of them dies, and reads as if nothing had happened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cabled import QUESTION, Cabled, Harm, World, freeze, kill, unplug
from conftest import Worker

from synaptic.engines.answer import Reply
from synaptic.events import GenerationFinished, Noticed
from synaptic.settings.values import Values

pytestmark = [pytest.mark.anyio, pytest.mark.live]


@pytest.fixture
async def world(tmp_path: Path, rpc_worker: Callable[..., Worker], llama_server: Path) -> AsyncIterator[World]:
    made = World(tmp_path, [Cabled(rpc_worker()) for _ in range(3)], llama_server)
    yield made
    await made.coordinators.stop()
    for worker in made.workers:
        worker.close()


@pytest.mark.parametrize("harm", [kill, freeze, unplug])
async def test_the_answer_goes_on_and_is_the_undisturbed_one(world: World, harm: Harm) -> None:
    undisturbed = await world.ask()
    disturbed = await world.ask((3, harm, world.workers[0]))
    assert disturbed.text == undisturbed.text
    outcome = disturbed.outcome()
    assert outcome.error is None
    assert isinstance(outcome.data, dict)
    assert outcome.data["complete"] is True
    assert [failover.lost for failover in disturbed.failovers] == [(str(world.workers[0].endpoint),)]
    assert world.workers[0].endpoint not in disturbed.route.plan.workers
    usage, whole = outcome.data["usage"], undisturbed.outcome().data["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (whole["prompt_tokens"], whole["completion_tokens"])
    *_, told = (event for event in world.bus.history if isinstance(event, GenerationFinished))
    assert (told.tokens, told.ttft_ms) == (usage["completion_tokens"], outcome.data["timings"]["ttft_ms"])
    said = [event.text for event in world.bus.history if isinstance(event, Noticed)]
    assert any(f"worker {world.workers[0].endpoint} was lost; the answer goes on, on 2 workers" in text for text in said)


async def test_one_worker_after_another_and_at_last_this_machine(world: World) -> None:
    undisturbed = await world.ask()
    first, second, third = world.workers
    reply = await world.ask((2, kill, first), (4, kill, second), (6, kill, third))
    assert reply.text == undisturbed.text
    assert len(reply.failovers) == 3
    assert reply.route.plan.workers == ()
    assert "no worker is left" in reply.route.why


async def test_off_keeps_what_was_written(world: World) -> None:
    world.values = Values(distributed_inference_enabled=True, failover="off")
    whole = (await world.ask()).text
    reply = await world.ask((3, kill, world.workers[0]))
    outcome = reply.outcome()
    assert reply.text
    assert whole.startswith(reply.text)
    assert "what was written so far stays" in str(outcome.error)
    assert str(world.workers[0].endpoint) in str(outcome.error)


@pytest.mark.parametrize("agrees", [True, False])
async def test_ask_asks(world: World, agrees: bool) -> None:
    world.values = Values(distributed_inference_enabled=True, failover="ask")
    world.agrees = agrees
    reply = await world.ask((3, kill, world.workers[0]))
    assert len(world.asked) == 1
    assert str(world.workers[0].endpoint) in world.asked[0]
    assert (reply.outcome().error is None) is agrees


async def test_leaving_while_it_goes_on_leaves_nothing_behind(world: World) -> None:
    reply = Reply(world.answering, await world.answering.route("demo"), QUESTION, lambda text, complete: None)
    pieces = reply.pieces()
    for _ in range(3):
        await anext(pieces)
    kill(world.workers[0])
    while not reply.failovers:
        await anext(pieces)
    await pieces.aclose()
    assert [coordinator.generating for coordinator in world.coordinators.all()] == [0]
