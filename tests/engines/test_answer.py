"""From a prompt to an answer, when the engine breaks on the way. The workers are real, the llama-server breaks on request."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from conftest import DEMO, Worker

from synaptic.cluster.nodes import Nodes
from synaptic.cluster.pool import Pool
from synaptic.discovery.here import machines_now
from synaptic.engines.answer import Reply
from synaptic.engines.answering import Answering
from synaptic.engines.engine import Message
from synaptic.environment import Environment
from synaptic.errors import BackendError, EngineError
from synaptic.events import Bus, ChildChanged, GenerationFinished
from synaptic.models.catalog import Catalog
from synaptic.planning.predictions import Predictions
from synaptic.planning.speeds import Speeds
from synaptic.process.child import Patience
from synaptic.process.coordinators import Coordinators
from synaptic.process.install import Engines
from synaptic.results import Outcome
from synaptic.settings.values import Values

pytestmark = [pytest.mark.anyio, pytest.mark.live]
FAKELLAMA = Path(__file__).parents[1] / "fakes" / "fakellama.py"
TEXT = "one two three four five six seven eight nine ten"
QUESTION = (Message("user", "count"),)


@dataclasses.dataclass
class Heard:
    text: str
    outcome: Outcome | None
    error: EngineError | BackendError | None


class World:
    """Two real workers, and a llama-server whose faults are one per start; after the last one it behaves."""

    def __init__(self, folder: Path, workers: list[Worker]) -> None:
        self.folder, self.workers = folder, workers
        self.bus = Bus()
        self.pool = Pool(self.bus)
        self.pool.add([worker.endpoint for worker in workers], "configured")
        self.values = Values(distributed_inference_enabled=True, stall_seconds=20.0)
        program = folder / "llama-server"
        program.write_text(
            f"#!/bin/sh\nread -r FAKE < {folder}/faults || true\nsed -i 1d {folder}/faults\nexport FAKE FAKE_TEXT='{TEXT}'\n"
            f'exec {sys.executable} {FAKELLAMA} "$@"\n'
        )
        program.chmod(0o755)
        variables = {"LLAMA_SERVER": str(program), "PATH": os.environ["PATH"]}
        engines = Engines(Environment(variables, sys.stdin, sys.stdout, sys.stderr))
        patience = Patience(start=20.0, terms=(1.0, 1.0))
        self.coordinators = Coordinators(engines, self.pool, self.bus, logs=folder, variables=variables, tuning=lambda: (patience, None))
        self.asked: list[str] = []
        self.answering = Answering(
            Catalog(lambda: (), DEMO),
            self.pool,
            Nodes(lambda: (), self.bus, keys={}),
            self.coordinators,
            lambda: self.values,
            self.bus,
            machines=lambda workers: machines_now(workers, Speeds(None)),
            predictions=Predictions(None),
            confirm=self.confirm,
        )
        self.remembered: list[tuple[str, bool]] = []

    async def confirm(self, question: str) -> bool:
        self.asked.append(question)
        return False

    def faults(self, *faults: str) -> None:
        (self.folder / "faults").write_text("\n".join((*faults, *[""] * 5)) + "\n")

    async def ask(self) -> Heard:
        heard = Heard("", None, None)
        try:
            route = await self.answering.route("demo")
            reply = Reply(self.answering, route, QUESTION, lambda text, complete: self.remembered.append((text, complete)))
            async for piece in reply.pieces():
                heard.text += piece
            heard.outcome = reply.outcome()
        except (EngineError, BackendError) as error:
            heard.error = error
        return heard

    @property
    def starts(self) -> int:
        return sum(isinstance(event, ChildChanged) and event.after == "starting" for event in self.bus.history)


@pytest.fixture
async def world(tmp_path: Path, rpc_worker: Callable[..., Worker]) -> AsyncIterator[World]:
    made = World(tmp_path, [rpc_worker(), rpc_worker()])
    yield made
    await made.coordinators.stop()


async def test_all_well(world: World) -> None:
    world.faults("")
    heard = await world.ask()
    assert heard.text == TEXT
    assert heard.outcome
    assert heard.outcome.error is None
    assert isinstance(heard.outcome.data, dict)
    assert heard.outcome.data["complete"] is True
    assert world.remembered == [(TEXT, True)]
    again = await world.ask()
    assert again.text == TEXT
    assert world.starts == 1


@pytest.mark.parametrize("fault", ["cut_after=3", "rst_after=3", "no_finish"])
async def test_an_answer_without_its_end_is_kept_and_marked_incomplete(world: World, fault: str) -> None:
    world.faults(fault)
    heard = await world.ask()
    assert TEXT.startswith(heard.text.strip())
    assert heard.outcome
    assert heard.outcome.error
    assert heard.outcome.error.exit_code == 4
    assert isinstance(heard.outcome.data, dict)
    assert (heard.outcome.data["complete"], heard.outcome.data["text"]) == (False, heard.text)
    assert world.remembered == [(heard.text, False)]
    assert world.starts == 1, "nothing is run again once something was shown"
    finished = [event for event in world.bus.history if isinstance(event, GenerationFinished)]
    assert [event.complete for event in finished] == [False]


async def test_a_lost_worker_in_the_middle_is_named(world: World) -> None:
    world.faults("lose_worker=3 delay_ms=100")
    asking = asyncio.create_task(world.ask())
    while not world.coordinators.up() or not world.coordinators.up()[0].generating:
        await asyncio.sleep(0.01)
    world.workers[1].process.kill()
    heard = await asking
    assert heard.text
    assert heard.outcome
    assert f"worker {world.workers[1].endpoint} was lost" in str(heard.outcome.error)
    assert "what was written so far stays" in str(heard.outcome.error)


async def test_a_coordinator_that_dies_before_the_first_token_is_tried_once_more(world: World) -> None:
    world.faults("lose_worker=0")
    heard = await world.ask()
    assert heard.text == TEXT
    assert world.starts == 2


async def test_and_only_once(world: World) -> None:
    world.faults("lose_worker=0", "lose_worker=0", "lose_worker=0")
    heard = await world.ask()
    assert heard.text == ""
    assert "a worker was lost" in str(heard.error)
    assert world.starts == 2


async def test_the_second_try_goes_without_the_worker_that_is_gone(world: World) -> None:
    world.faults("")
    await world.ask()
    world.workers[0].process.kill()
    world.workers[0].process.wait()
    (coordinator,) = world.coordinators.up()
    assert coordinator.child.pid
    os.kill(coordinator.child.pid, signal.SIGABRT)  # what the real one does when it notices, at the next request
    assert await coordinator.child.exited(30)
    heard = await world.ask()
    assert heard.text == TEXT
    (coordinator,) = world.coordinators.up()
    assert coordinator.plan.workers == (world.workers[1].endpoint,)


async def test_a_start_that_fails_for_a_reason_that_stays_is_not_repeated(world: World) -> None:
    world.faults("exit=1", "exit=1")
    heard = await world.ask()
    assert "ended before it was ready" in str(heard.error)
    assert world.starts == 1


async def test_too_little_memory_is_explained_with_who_was_to_hold_what(world: World) -> None:
    world.faults("no_memory", "no_memory")
    heard = await world.ask()
    assert "out of memory" in str(heard.error)
    assert "plan demo" in str(heard.error.hint)
    for worker in world.workers:
        assert any(f"{worker.endpoint}: 1 GiB of weights" in line for line in heard.error.details)
    assert world.starts == 1


async def test_a_stalled_stream_is_given_up(world: World) -> None:
    world.faults("stall_after=3")
    patient, world.values = world.values, dataclasses.replace(world.values, stall_seconds=2.0)
    heard = await world.ask()
    world.values = patient
    assert heard.outcome
    assert "no token for 2 s" in str(heard.outcome.error)
    assert heard.text
    assert world.coordinators.up() == [], "its workers are free to be asked which of them is frozen"
    assert (await world.ask()).text == TEXT


async def test_leaving_in_the_middle_frees_the_coordinator(world: World) -> None:
    world.faults("delay_ms=50")
    reply = Reply(
        world.answering, await world.answering.route("demo"), QUESTION, lambda text, complete: world.remembered.append((text, complete))
    )
    pieces = reply.pieces()
    first = await anext(pieces)
    await pieces.aclose()
    (coordinator,) = world.coordinators.up()
    assert coordinator.generating == 0
    assert world.remembered == [(first, False)]
    assert (await world.ask()).text == TEXT


async def test_no_worker_is_a_backend_error(world: World) -> None:
    for worker in world.workers:
        worker.process.kill()
        worker.process.wait()
    heard = await world.ask()
    assert isinstance(heard.error, BackendError)
    assert world.starts == 0


async def test_a_question_that_got_no_answer_is_remembered_for_a_retry(world: World) -> None:
    world.faults("exit=1")
    assert (await world.ask()).error
    assert world.remembered == [("", False)]
