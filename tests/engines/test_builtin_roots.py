"""The built-in root over real workers: where its model lies, what its tokens cost, and that it outlives its workers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from dllamas import demo_m, plan

from synaptic.cluster.backend import State
from synaptic.cluster.dllama_workers import DllamaWorkers
from synaptic.discovery.here import dllama_machines_now
from synaptic.engines.answer import Reply
from synaptic.engines.builtin import Roots
from synaptic.engines.by_root import ByRoot
from synaptic.engines.dllama_speeds import DllamaSpeeds
from synaptic.engines.engine import Chunk, LostError, Message, Request
from synaptic.engines.root_events import RootAnswered, TokensPassed
from synaptic.engines.running_root import Rooted
from synaptic.errors import BackendError, EngineError
from synaptic.events import BackendChecked, GenerationWentOn, Noticed
from synaptic.planning.plan import Plan, Route
from synaptic.planning.speeds import Speeds
from synaptic.settings.values import Values

pytest.importorskip("numpy")
pytestmark = pytest.mark.anyio
ASKED = Request((Message("user", "What is a worker?"),), "demo-q40", temperature=0.0)
ALONE = Rooted(Plan(demo_m(), (), 512), "none")


@pytest.fixture
async def roots(dllama_workers: DllamaWorkers, tmp_path: Path) -> AsyncIterator[Roots]:
    speeds = Speeds(tmp_path / "speeds.json")
    found = Roots(
        Values,
        lambda: dllama_workers,
        dllama_workers._bus,
        free=lambda: None,
        speeds=DllamaSpeeds(speeds, lambda workers: dllama_machines_now(workers, speeds)),
    )
    yield found
    await found.stop()
    await dllama_workers.parking.unpark()


class Answers:
    """The part of Answering that an answer of a root needs."""

    def __init__(self, roots: Roots, rooted: Rooted) -> None:
        self.bus, self.values = roots.bus, Values
        self._roots, self._rooted = roots, rooted

    def attempt(self, route: Route) -> ByRoot:
        return ByRoot(self._rooted, self._roots)

    def learn(self, route: Route, tokens: int, timings: object) -> None:
        pass


@pytest.fixture
def over(dllama_workers: DllamaWorkers) -> Callable[..., Rooted]:
    """What runs over these workers, which are known from then on. `layers`: of each; what was measured may leave one without."""

    def make(*workers: object, split: str = "layers", model: str = "demo-q40", layers: tuple[int, ...] = ()) -> Rooted:
        dllama_workers.set_known([(each.endpoint, "configured") for each in workers])
        return Rooted(plan(*workers, model=dataclasses.replace(demo_m(), name=model)), split, layers=layers)

    return make


async def text_of(roots: Roots, rooted: Rooted, written: tuple[Chunk, ...] = ()) -> str:
    return "".join([chunk.text async for chunk in ByRoot(rooted, roots).chunks(ASKED, written)])


async def test_it_shows_where_its_model_lies_and_remembers_how_fast_its_workers_are(roots, over, builtin_worker, tmp_path):
    workers = [builtin_worker() for _ in range(3)]
    root = await roots.ensure(over(*workers))
    seen = root.seen
    assert (seen.state, seen.name, seen.is_busy) == ("ready", "root demo-q40", False)
    assert [each.endpoint for each in workers] == list(seen.workers)
    shares = {share.endpoint: share for share in seen.shares()}
    assert sum(share.layers for share in shares.values()) == 4
    assert all(share.model_bytes and share.kv_bytes for share in shares.values() if share.layers)
    assert all(speed.bandwidth > 0 and speed.measured_at for speed in Speeds(tmp_path / "speeds.json").all().values())
    assert len(Speeds(tmp_path / "speeds.json").all()) == 3
    assert roots.of("demo-q40") == over(*workers)
    assert await roots.ensure(over(*workers)) is root


@pytest.mark.parametrize(("split", "count"), [("layers", 2), ("tensor", 1), ("tensor", 3)])
async def test_what_its_tokens_cost_is_told_while_it_writes_and_in_the_end(roots, over, builtin_worker, split, count):
    workers = [builtin_worker() for _ in range(count)]
    text = await text_of(roots, over(*workers, split=split, layers=(2, 2) if split == "layers" else ()))
    assert text == await text_of(roots, ALONE)
    events = [event for event in roots.bus.history if isinstance(event, RootAnswered | TokensPassed)]
    told = next(event for event in events if isinstance(event, RootAnswered))
    assert (told.model, told.split) == ("demo-q40", split)
    assert told.prompt.tokens > 5
    assert told.answer.tokens > 5
    assert told.answer.waiting_ms > 0
    assert {each.node for each in told.answer.nodes} == {"here", *(str(each.endpoint) for each in workers)}
    per_token = [each.bytes_up / told.answer.tokens for each in told.answer.nodes if each.node != "here"]
    assert all(100 < count < 100_000 for count in per_token)
    until = events[: events.index(told)]
    assert sum(event.figures.tokens for event in until) == told.prompt.tokens + told.answer.tokens


async def test_a_worker_that_is_killed_in_the_middle_is_left_out_and_nobody_can_tell_from_the_answer(roots, over, builtin_worker):
    whole = await text_of(roots, ALONE)
    await roots.stop()
    workers = [builtin_worker() for _ in range(3)]
    rooted, text = over(*workers, layers=(1, 2, 1)), ""
    async with contextlib.aclosing(ByRoot(rooted, roots).chunks(ASKED, ())) as chunks:
        async for chunk in chunks:
            text += chunk.text
            if workers[1].process.poll() is None and len(text) > 10:
                workers[1].kill()
    assert text == whole
    (seen,) = roots.all()
    assert workers[1].endpoint not in seen.workers
    shares = {share.endpoint: share.layers for share in seen.shares()}
    assert str(workers[1].endpoint) not in shares
    assert (sum(shares.values()), seen.state) == (4, "ready")
    lost = [event for event in roots.bus.history if isinstance(event, BackendChecked) and event.state == "unreachable"]
    assert lost[-1].endpoint == workers[1].endpoint
    assert f"its layers go to {workers[0].endpoint}, {workers[2].endpoint}" in lost[-1].detail


async def test_that_it_went_on_without_a_worker_is_part_of_the_answer(roots, over, builtin_worker):
    """As of one over llama.cpp; the tokens are counted once."""
    workers = [builtin_worker() for _ in range(3)]
    rooted = over(*workers, layers=(1, 2, 1))
    route = Route("builtin", rooted.plan.model, "", rooted.plan)
    undisturbed = Reply(Answers(roots, rooted), route, ASKED.messages, like=ASKED)
    whole = "".join([piece async for piece in undisturbed.pieces()])
    reply = Reply(Answers(roots, rooted), route, ASKED.messages, like=ASKED)
    async for _ in reply.pieces():
        if workers[1].process.poll() is None and len(reply.text) > 10:
            workers[1].kill()
    assert reply.text == whole
    document, before = reply.outcome().data, undisturbed.outcome().data
    assert isinstance(document, dict)
    (failover,) = document["failovers"]
    lost = str(workers[1].endpoint)
    assert (failover["lost"], failover["after_tokens"] > 0, failover["seconds"] > 0) == ([lost], True, True)
    assert lost in failover["cause"]
    assert reply.outcome().tail.endswith(f"went on without worker {lost}")
    assert document["route"]["backends"] == [str(workers[0].endpoint), str(workers[2].endpoint)]
    assert document["usage"]["completion_tokens"] == before["usage"]["completion_tokens"]
    assert [event.lost for event in roots.bus.history if isinstance(event, GenerationWentOn)] == [(lost,)]
    assert before["failovers"] == []


async def test_when_nobody_is_left_another_can_go_on_after_the_last_word(roots, over, builtin_worker):
    whole = await text_of(roots, ALONE)
    await roots.stop()
    worker = builtin_worker()
    rooted, written = over(worker), []
    with pytest.raises(LostError) as caught:  # noqa: PT012
        async for chunk in ByRoot(rooted, roots).chunks(ASKED, ()):
            written.append(chunk)
            if len(written) == 5:
                worker.kill()
    assert caught.value.lost == (str(worker.endpoint),)
    assert roots.of("demo-q40") is None
    rest = await text_of(roots, ALONE, tuple(written))
    assert "".join(chunk.text for chunk in written) + rest == whole


async def test_stopped_in_the_middle_the_answer_says_so(roots, over, builtin_worker):
    rooted = over(builtin_worker())
    with pytest.raises(EngineError, match="demo-q40 was stopped"):  # noqa: PT012
        stopping = None
        async for _ in ByRoot(rooted, roots).chunks(ASKED, ()):
            stopping = stopping or asyncio.create_task(roots.stop())
            await asyncio.sleep(0)
    assert stopping
    assert await stopping == ["demo-q40"]
    assert roots.all() == []


async def test_another_model_gets_the_workers_of_one_that_is_idle(roots, over, builtin_worker, dllama_workers):
    worker = builtin_worker()
    await roots.ensure(over(worker))
    await roots.ensure(over(worker, model="another"))
    assert [each.plan.model.name for each in roots.all()] == ["another"]
    assert "stopping demo-q40 to free its workers" in [event.text for event in roots.bus.history if isinstance(event, Noticed)]
    assert dllama_workers.holder(worker.endpoint) == "the built-in root of another"


async def test_parked_workers_are_taken_and_parked_again(roots, over, builtin_worker, dllama_workers):
    workers = [builtin_worker() for _ in range(2)]
    rooted = over(*workers)
    await dllama_workers.parking.park([each.endpoint for each in workers])
    await roots.ensure(rooted)
    assert dllama_workers.parking.parked == []
    assert await roots.stop("demo-q40") == ["demo-q40"]
    assert set(dllama_workers.parking.parked) == {each.endpoint for each in workers}


async def test_workers_that_have_the_model_are_sent_no_weights(roots, over, builtin_worker):
    model = demo_m().path
    holder, other = builtin_worker("--model", str(model)), builtin_worker()
    root = await roots.ensure(over(holder, other, layers=(2, 2)))
    assert {each.node: each.from_file for each in root.seen.held} == {
        str(holder.endpoint): True,
        str(other.endpoint): False,
    } | {each.node: False for each in root.seen.held if each.node == "here"}
    notices = [event.text for event in roots.bus.history if isinstance(event, Noticed)]
    assert f"{holder.endpoint} reads demo-q40 from a file there; no weights are sent" in notices


async def test_one_that_does_not_come_up_frees_the_others(roots, over, builtin_worker, dllama_workers):
    worker, gone = builtin_worker(), builtin_worker()
    rooted = over(worker, gone, layers=(2, 2))
    gone.kill()
    with pytest.raises((LostError, BackendError)):
        await roots.ensure(rooted)
    assert roots.all() == []
    assert dllama_workers.holder(worker.endpoint) is None
    assert [each.state for each in await dllama_workers.prove([worker.endpoint])] == [State.IDLE]
