"""The gateway in front of the real engines: the same words as everywhere, whatever happens to a worker meanwhile."""

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
from gateways import Served, making_vectors, ollama_client, serving
from ollamas import RealOllama

from synaptic.engines.answer import Reply
from synaptic.engines.engine import Message

pytestmark = [pytest.mark.anyio, pytest.mark.live]
QUESTION = "What is a worker?"
ANSWER = next(entry.answer for entry in entries() if QUESTION in entry.questions)
MESSAGES = [{"role": "user", "content": QUESTION}]
ASKED = {"model": "demo", "messages": MESSAGES}


@pytest.fixture
async def spread(tmp_path: Path, rpc_worker, llama_server: Path) -> AsyncIterator[Served]:
    """Over two real workers."""
    endpoints = [rpc_worker().endpoint, rpc_worker().endpoint]
    async with serving(tmp_path, workers=endpoints, LLAMA_SERVER=str(llama_server)) as served:
        yield served


@pytest.fixture
async def alone(tmp_path: Path, llama_server: Path) -> AsyncIterator[Served]:
    """On this machine."""
    async with serving(tmp_path, LLAMA_SERVER=str(llama_server)) as served:
        yield served


async def test_every_way_of_asking_gives_the_words_of_ask(spread: Served) -> None:
    session = spread.session
    session.know_backends()
    reply = Reply(session.answering, await session.answering.route("demo"), (Message("user", QUESTION),))
    told = "".join([piece async for piece in reply.pieces()])
    assert len(reply.route.backends) == 2
    async with ollama_client(spread.url) as client:
        whole = await client.chat("demo", messages=MESSAGES)
        pieces = [part.response async for part in await client.generate("demo", prompt=QUESTION, stream=True)]
    _, document = await spread.post("/v1/chat/completions", **ASKED)
    events = await spread.events("/v1/chat/completions", **ASKED, stream_options={"include_usage": True})
    streamed = "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])
    assert told == whole.message.content == "".join(pieces) == document["choices"][0]["message"]["content"] == streamed == ANSWER
    assert len(pieces) > 20
    assert document["usage"]["completion_tokens"] == whole.eval_count == events[-1]["usage"]["completion_tokens"] > 20
    assert whole.eval_duration > 0


async def test_two_clients_at_once_get_their_own_answers(spread: Served) -> None:
    asked = [QUESTION, *(entry.questions[0] for entry in entries()[:3])]
    chats = (spread.post("/api/chat", model="demo", messages=[{"role": "user", "content": text}], stream=False) for text in asked)
    answers = [document["message"]["content"] for _, document in await asyncio.gather(*chats)]
    assert answers == [ANSWER, *(entry.answer for entry in entries()[:3])]
    assert len(spread.session.coordinators.all()) == 1


async def test_ps_says_what_lies_where(spread: Served) -> None:
    await spread.post("/api/generate", model="demo", stream=False)
    async with ollama_client(spread.url) as client:
        (held,) = (await client.ps()).models
    assert (held.model, held.context_length) == ("demo", 512)
    assert 0 < held.size_vram <= held.size


@pytest.fixture
def cables(rpc_worker) -> Iterator[list[Cabled]]:
    cables = [Cabled(rpc_worker()), Cabled(rpc_worker())]
    yield cables
    for cable in cables:
        cable.close()


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_a_worker_that_dies_changes_no_word(tmp_path: Path, cables: list[Cabled], llama_server: Path, path: str) -> None:
    endpoints = [cable.endpoint for cable in cables]
    async with serving(tmp_path, workers=endpoints, LLAMA_SERVER=str(llama_server)) as served, aiohttp.ClientSession() as http:
        async with http.post(served.url + path, json=ASKED | {"stream": True}) as answer:
            lines = []
            async for line in answer.content:
                lines += [line] if line.strip() else []
                if len(lines) == 5:
                    kill(cables[0])
        (coordinator,) = served.session.coordinators.all()
        assert len(coordinator.plan.workers) == 1
    assert text_in(path, lines) == ANSWER


def text_in(path: str, lines: list[bytes]) -> str:
    if path.startswith("/api"):
        documents = [json.loads(line) for line in lines]
        assert documents[-1]["done_reason"] == "stop"
        return "".join(document["message"]["content"] for document in documents)
    assert lines[-1] == b"data: [DONE]\n"
    events = [json.loads(line.removeprefix(b"data: ")) for line in lines[:-1]]
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events)


async def test_who_comes_while_it_loads_is_told_and_later_answered(tmp_path: Path, llama_server: Path) -> None:
    async with serving(tmp_path, patience=0.0, LLAMA_SERVER=str(llama_server)) as served:
        statuses, document = [], None
        while not statuses or statuses[-1] == 503:
            status, document = await served.post("/api/chat", **ASKED, stream=False)
            statuses.append(status)
        assert statuses[0] == 503
        assert statuses[-1] == 200
        assert document["message"]["content"] == ANSWER


async def test_a_client_that_leaves_frees_its_slot(spread: Served) -> None:
    await spread.post("/api/generate", model="demo", stream=False)
    (coordinator,) = spread.session.coordinators.all()
    body = {"model": "demo", "raw": True, "prompt": "A"}
    async with aiohttp.ClientSession() as http, http.post(f"{spread.url}/api/generate", json=body) as answer:
        await answer.content.readany()
        answer.close()
    while coordinator.generating:
        await asyncio.sleep(0.01)
    _, document = await spread.post("/api/chat", **ASKED, stream=False)
    assert document["message"]["content"] == ANSWER


async def test_options_limit_and_stop_an_answer(alone: Served) -> None:
    async with ollama_client(alone.url) as client:
        short = await client.chat("demo", messages=MESSAGES, options={"num_predict": 3, "temperature": 0, "seed": 1})
        stopped = await client.chat("demo", messages=MESSAGES, options={"stop": ["server"]})
    assert (short.done_reason, short.eval_count) == ("length", 3)
    assert stopped.message.content == ANSWER.partition("server")[0]
    assert stopped.done_reason == "stop"
    _, document = await alone.post("/v1/chat/completions", **ASKED, max_tokens=3)
    assert document["choices"][0]["finish_reason"] == "length"
    assert ANSWER.startswith(document["choices"][0]["message"]["content"])


async def test_a_schema_binds_the_answer(alone: Served) -> None:
    schema = {"type": "object", "properties": {"fits": {"type": "boolean"}}, "required": ["fits"], "additionalProperties": False}
    async with ollama_client(alone.url) as client:
        answer = await client.chat("demo", messages=MESSAGES, format=schema, options={"num_predict": 60})
    assert isinstance(json.loads(answer.message.content)["fits"], bool)
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    _, document = await alone.post("/v1/chat/completions", **ASKED, response_format=wanted, max_tokens=60)
    assert isinstance(json.loads(document["choices"][0]["message"]["content"])["fits"], bool)


async def test_a_plain_prompt_is_gone_on_with(alone: Served) -> None:
    prompt = f"<|start_header_id|>user<|end_header_id|>\n\n{QUESTION}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    _, document = await alone.post("/v1/completions", model="demo", prompt=prompt, temperature=0)
    _, raw = await alone.post("/api/generate", model="demo", prompt=prompt, raw=True, stream=False)
    assert document["choices"][0]["text"] == raw["response"] == ANSWER


async def test_a_prompt_that_is_too_long_is_400_with_the_numbers(alone: Served) -> None:
    status, document = await alone.post("/v1/chat/completions", model="demo", messages=[{"role": "user", "content": "word " * 2000}])
    assert (status, document["error"]["code"]) == (400, "context_length_exceeded")
    assert "512" in document["error"]["message"]


async def test_a_picture_for_a_model_without_eyes_is_400(alone: Served) -> None:
    said = [{"role": "user", "content": "what?", "images": ["iVBORw0KGgo="]}]
    status, document = await alone.post("/api/chat", model="demo", messages=said, stream=False)
    assert status == 400, document


async def test_a_model_over_workers_is_not_unloaded_by_a_client(alone: Served) -> None:
    status, document = await alone.post("/api/generate", model="demo", keep_alive=0, stream=False)
    assert status == 400
    assert "coordinator stop demo" in document["error"]


@pytest.fixture
def embedder(llama_server: Path) -> Iterator[str]:
    with making_vectors(llama_server) as url:
        yield url


async def test_a_llama_server_makes_embeddings(tmp_path: Path, embedder: str) -> None:
    async with serving(tmp_path, nodes=[embedder]) as served, ollama_client(served.url) as client:
        made = await client.embed("vectors", ["one", "two"])
        _, document = await served.post("/v1/embeddings", model="vectors", input=["one", "two"])
    assert [len(vector) for vector in made.embeddings] == [256, 256]
    assert [each["embedding"] for each in document["data"]] == [list(vector) for vector in made.embeddings]


async def test_a_text_that_is_too_long_shuts_nobody_else_out(tmp_path: Path, embedder: str) -> None:
    async with serving(tmp_path, nodes=[embedder]) as served:
        status, document = await served.post("/v1/embeddings", model="vectors", input="word " * 9000)
        assert (status, document["error"]["type"]) == (400, "invalid_request_error")
        assert "too large to process" in document["error"]["message"]
        assert (await served.post("/v1/embeddings", model="vectors", input="word"))[0] == 200


async def test_a_server_that_makes_no_embeddings_still_answers_others(tmp_path: Path, llama_server: Path) -> None:
    with making_vectors(llama_server, how=()) as url:
        async with serving(tmp_path, nodes=[url]) as served:
            assert (await served.post("/v1/embeddings", model="vectors", input="word"))[0] == 501
            assert (await served.post("/v1/chat/completions", model="vectors", messages=MESSAGES))[0] == 200


async def test_a_server_of_embeddings_that_is_gone_is_worth_asking_again(tmp_path: Path, llama_server: Path) -> None:
    with contextlib.ExitStack() as lives:
        url = lives.enter_context(making_vectors(llama_server))
        async with serving(tmp_path, nodes=[url]) as served:
            assert (await served.post("/v1/embeddings", model="vectors", input="word"))[0] == 200
            lives.close()
            assert [(await served.post("/v1/embeddings", model="vectors", input="word"))[0] for _ in range(2)] == [503, 503]


async def test_a_real_ollama_gives_the_same_words_through_the_gateway(tmp_path: Path, ollama: RealOllama) -> None:
    async with serving(tmp_path, nodes=[ollama.url]) as served, ollama_client(ollama.url) as straight, ollama_client(served.url) as client:
        there, here = [await each.chat("demo:latest", messages=MESSAGES) for each in (straight, client)]
        assert (await client.list()).models[0].details.family == "llama"
    assert there.message.content == here.message.content
    assert (there.done_reason, there.eval_count) == (here.done_reason, here.eval_count)
    assert set(there.model_dump(exclude_none=True)) == set(here.model_dump(exclude_none=True))
