"""Several clients at once at one coordinator, with the real llama-server: slots, turns, and who leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from cabled import Cabled, kill
from faq import entries
from gateways import Served, serving

from synaptic.engines.answer import Reply
from synaptic.engines.engine import Message
from synaptic.events import GenerationFinished, GenerationProgressed, WorkStarted
from synaptic.web.gateway.turns import Turns

pytestmark = [pytest.mark.anyio, pytest.mark.live]
ANSWERS = {entry.questions[0]: entry.answer for entry in entries()[:4]}
QUESTION, ANSWER = next(iter(ANSWERS.items()))


@contextlib.asynccontextmanager
async def alone(home: Path, llama_server: Path, turns: Turns | None = None, **settings: object) -> AsyncIterator[Served]:
    async with serving(home, turns=turns, LLAMA_SERVER=str(llama_server)) as served:
        served.session.settings.for_now(**settings)
        yield served


async def ask(served: Served, question: str, client: str = "a") -> str:
    body = {"model": "demo", "messages": [{"role": "user", "content": question}], "temperature": 0}
    headers = {"Authorization": f"Bearer {client}"}
    async with aiohttp.ClientSession() as http, http.post(f"{served.url}/v1/chat/completions", json=body, headers=headers) as answer:
        return (await answer.json())["choices"][0]["message"]["content"]


async def test_a_gateway_loads_a_model_with_slots_each_of_the_whole_context(tmp_path: Path, llama_server: Path) -> None:
    async with alone(tmp_path, llama_server) as served:
        said = await asyncio.gather(*(ask(served, question, str(number)) for number, question in enumerate(ANSWERS)))
        (coordinator,) = served.session.coordinators.all()
        headers = {"Authorization": f"Bearer {coordinator.key}"}
        async with aiohttp.ClientSession() as http, http.get(f"{coordinator.url}/props", headers=headers) as answer:
            told = await answer.json()
    assert said == list(ANSWERS.values())
    assert (coordinator.plan.slots, coordinator.plan.context) == (4, 512)
    assert (told["total_slots"], told["default_generation_settings"]["n_ctx"]) == (4, 512)


async def test_a_number_that_was_set_counts_and_what_is_loaded_otherwise_is_loaded_anew(tmp_path: Path, llama_server: Path) -> None:
    async with alone(tmp_path, llama_server) as served:
        await served.session.save(parallel=2)
        assert await ask(served, QUESTION) == ANSWER
        (before,) = served.session.coordinators.all()
        await served.session.save(parallel=3)
        assert await ask(served, QUESTION) == ANSWER
        (after,) = served.session.coordinators.all()
    assert (before.plan.slots, after.plan.slots) == (2, 3)


async def test_what_is_loaded_stays_where_no_number_was_set(tmp_path: Path, llama_server: Path) -> None:
    async with alone(tmp_path, llama_server) as served:
        served.session.most_slots = 1  # as in a shell, before its gateway is on
        await served.session.coordinators.ensure((await served.session.answering.route("demo")).plan)
        served.session.most_slots = 4
        assert await ask(served, QUESTION) == ANSWER
        (coordinator,) = served.session.coordinators.all()
    assert coordinator.plan.slots == 1


async def test_clients_take_turns_however_many_requests_one_of_them_has(tmp_path: Path, llama_server: Path) -> None:
    turns = Turns()
    async with alone(tmp_path, llama_server, turns, parallel=1) as served:
        await ask(served, QUESTION)
        (coordinator,) = served.session.coordinators.all()
        order: list[str] = []

        async def take(client: str) -> None:
            assert await ask(served, QUESTION, client) == ANSWER
            order.append(client)

        await coordinator.turns.acquire()  # nobody's answer begins until all have asked
        tasks = [asyncio.create_task(take("greedy")) for _ in range(6)]
        while turns.waiting("demo") < 5:
            await asyncio.sleep(0.01)
        tasks.append(asyncio.create_task(take("modest")))
        while turns.waiting("demo") < 6:
            await asyncio.sleep(0.01)
        coordinator.turns.release()
        await asyncio.gather(*tasks)
    assert order == ["greedy", "greedy", "modest", "greedy", "greedy", "greedy", "greedy"]


async def test_a_prompt_of_the_shell_waits_for_its_turn_and_has_not_stalled(tmp_path: Path, llama_server: Path) -> None:
    """The answer before it takes longer than a stream may be silent."""
    async with alone(tmp_path, llama_server, parallel=1) as served:
        session = served.session
        await ask(served, QUESTION)
        (coordinator,) = session.coordinators.all()
        session.settings.for_now(stall_seconds=1.0)
        await coordinator.turns.acquire()
        with session.bus.subscribe(WorkStarted) as told:
            works = aiter(told)
            reply = Reply(session.answering, await session.answering.route("demo"), (Message("user", QUESTION),))
            text = asyncio.create_task(_text(reply))
            while "answers someone else" not in (await anext(works)).what:
                pass
        done, _ = await asyncio.wait([text], timeout=10.5)  # more than ten times that, which is what a first token may take
        assert not done
        coordinator.turns.release()
        assert await text == ANSWER


async def _text(reply: Reply) -> str:
    return "".join([piece async for piece in reply.pieces()])


@pytest.fixture
def cables(rpc_worker) -> Iterator[list[Cabled]]:
    cables = [Cabled(rpc_worker()), Cabled(rpc_worker())]
    yield cables
    for cable in cables:
        cable.close()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_stops_the_server(tmp_path: Path, cables: list[Cabled], llama_server: Path, *, stream: bool) -> None:
    endpoints = [cable.endpoint for cable in cables]
    async with serving(tmp_path, workers=endpoints, LLAMA_SERVER=str(llama_server)) as served:
        await served.post("/api/generate", model="demo", stream=False)  # only loads it
        (coordinator,) = served.session.coordinators.all()
        with served.session.bus.subscribe(GenerationProgressed, GenerationFinished) as events:
            told = aiter(events)
            request = asyncio.create_task(_post(served, {"model": "demo", "prompt": QUESTION, "stream": stream}))
            await anext(told)
            request.cancel()
            while not isinstance(finished := await anext(told), GenerationFinished):
                pass
        assert (finished.complete, coordinator.generating) == (False, 0)
        while "stop: cancel task" not in coordinator.entry.log.read_text(errors="replace"):
            await asyncio.sleep(0.01)
        assert await ask(served, QUESTION) == ANSWER


async def _post(served: Served, body: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{served.url}/api/generate", json=body) as answer:
        await answer.read()


async def test_a_worker_that_dies_breaks_none_of_several_streams_and_nobody_is_asked(
    tmp_path: Path, cables: list[Cabled], llama_server: Path
) -> None:
    asked: list[str] = []

    async def confirm(question: str) -> bool:
        asked.append(question)
        return False

    endpoints = [cable.endpoint for cable in cables]
    async with serving(tmp_path, workers=endpoints, LLAMA_SERVER=str(llama_server)) as served:
        served.session.confirm = confirm
        served.session.settings.for_now(failover="ask")
        streaming = asyncio.Semaphore(0)
        streams = [asyncio.create_task(_streamed(served, question, streaming)) for question in ANSWERS]
        for _ in streams:
            await streaming.acquire()
        kill(cables[0])
        said = await asyncio.gather(*streams)
        (coordinator,) = served.session.coordinators.all()
    assert said == list(ANSWERS.values())
    assert (len(coordinator.plan.workers), asked) == (1, [])


async def _streamed(served: Served, question: str, streaming: asyncio.Semaphore) -> str:
    body = {"model": "demo", "messages": [{"role": "user", "content": question}]}
    text, is_told = "", False
    async with aiohttp.ClientSession() as http, http.post(f"{served.url}/api/chat", json=body) as answer:
        async for line in answer.content:
            document = json.loads(line)
            assert "error" not in document
            text += document["message"]["content"]
            if not is_told:
                streaming.release()
                is_told = True
    return text
