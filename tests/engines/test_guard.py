"""A coordinator that nobody asks is watched all the same: by its workers' ports, and by one token now and then."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cabled import Cabled, World, kill, unplug
from conftest import Worker

from synaptic.engines.answer import Reply
from synaptic.engines.engine import Message, Request
from synaptic.engines.guard import Guard
from synaptic.engines.over_workers import server_of
from synaptic.errors import RefusedError
from synaptic.events import Noticed
from synaptic.process.child import State

pytestmark = [pytest.mark.anyio, pytest.mark.live]


class Watched(World):
    """With a guard whose time only we move."""

    now = 0.0

    def guarded(self, patience: float) -> Guard:
        async def sleep(seconds: float) -> None:
            await asyncio.Event().wait()

        self.guard = Guard(self.coordinators, self.bus, self.answering.recent, patience=patience, clock=lambda: self.now, sleep=sleep)
        self.guard.start()
        return self.guard

    @property
    def said(self) -> list[str]:
        return [event.text for event in self.bus.history if isinstance(event, Noticed)]


@pytest.fixture
async def world(tmp_path: Path, rpc_worker: Callable[..., Worker], llama_server: Path) -> AsyncIterator[Watched]:
    made = Watched(tmp_path, [Cabled(rpc_worker()) for _ in range(2)], llama_server)
    yield made
    await made.guard.close()
    await made.coordinators.stop()
    for worker in made.workers:
        worker.close()


async def test_a_good_one_is_asked_for_one_token_and_keeps_the_conversation(world: Watched) -> None:
    guard = world.guarded(patience=20.0)
    undisturbed = await world.ask()
    (coordinator,) = world.coordinators.up()
    served = coordinator.child.lines
    await guard.look()
    assert coordinator.child.lines == served, "it has not rested yet"
    world.now += 1e6
    await guard.look()
    assert coordinator.state is State.READY
    while coordinator.child.lines == served:  # its log says what it did
        await asyncio.sleep(0.01)
    again = await world.ask()
    assert again.text == undisturbed.text
    cached = again.outcome().data["usage"]["cached_tokens"]
    assert cached >= undisturbed.outcome().data["usage"]["prompt_tokens"] - 1, "the test token cost nothing of the cache"


async def test_one_whose_worker_is_frozen_is_stopped_and_said(world: Watched) -> None:
    guard = world.guarded(patience=1.0)
    await world.ask()
    await guard.look()
    os.kill(world.workers[0].worker.process.pid, signal.SIGSTOP)
    world.now += 1e6
    await guard.look()
    assert world.coordinators.up() == []
    assert any("demo was stopped: it does not answer" in text for text in world.said)
    reply = await world.ask()
    assert reply.outcome().error is None
    assert world.workers[0].endpoint not in reply.route.plan.workers


async def test_a_port_that_went_dark_ends_the_coordinator_that_leans_on_it(world: Watched) -> None:
    world.guarded(patience=20.0)
    await world.ask()
    kill(world.workers[0])
    world.pool.witness(world.workers[0].endpoint, is_open=False, detail="its machine does not answer")
    (coordinator,) = world.coordinators.all()
    while not any(f"worker {world.workers[0].endpoint} is gone" in text for text in world.said):
        await asyncio.sleep(0.01)
    assert coordinator.state is State.STOPPED


async def test_and_an_answer_goes_on_before_its_patience_is_over(world: Watched) -> None:
    world.guarded(patience=20.0)
    world.values = world.values.__class__(distributed_inference_enabled=True, stall_seconds=600.0)
    undisturbed = await world.ask()

    def pull(worker: Cabled) -> None:
        unplug(worker)
        world.pool.witness(worker.endpoint, is_open=False, detail="its machine does not answer")

    reply = await world.ask((3, pull, world.workers[0]))
    assert reply.text == undisturbed.text
    assert reply.failovers[0].lost == (str(world.workers[0].endpoint),)


async def test_a_prompt_that_was_refused_is_no_sign_of_death(world: Watched) -> None:
    guard = world.guarded(patience=20.0)
    await world.ask()
    (coordinator,) = world.coordinators.up()
    await guard.look()
    with pytest.raises(RefusedError, match="the context holds only"):
        await said(world, "a worker " * 1000)
    world.now += 1e6
    await guard.look()
    assert (coordinator.state, world.said) == (State.READY, [])


async def test_nor_is_a_context_that_is_full(world: Watched) -> None:
    guard = world.guarded(patience=20.0)
    await world.ask()
    (coordinator,) = world.coordinators.up()
    await guard.look()
    for words in range(1000, 0, -1):
        with contextlib.suppress(RefusedError):
            await said(world, "a " * words)
            break
    recent = world.answering.recent[coordinator]
    with pytest.raises(RefusedError):  # what was asked, and a token more
        await anext(server_of(coordinator, 20.0).test(recent.request, recent.written))
    world.now += 1e6
    await guard.look()
    assert (coordinator.state, world.said) == (State.READY, [])


async def said(world: Watched, prompt: str) -> None:
    route = await world.answering.route("demo")
    reply = Reply(world.answering, route, (Message("user", prompt),), like=Request((), "", max_tokens=1))
    async for _ in reply.pieces():
        pass


async def test_nor_does_anybody_wait_for_one(world: Watched) -> None:
    world.guarded(patience=20.0)
    route = await world.answering.route("demo")
    attempt = world.answering.attempt(route)
    with pytest.raises(RefusedError) as refused:
        await anext(attempt.chunks(Request((Message("user", "a worker " * 1000),), "demo"), ()))
    with pytest.raises(StopIteration) as at_once:
        attempt.is_worth_another().send(None)
    assert at_once.value.value is False
    assert await attempt.explained(refused.value, kept=False) is refused.value
