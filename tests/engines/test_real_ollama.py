"""The client and the nodes with a real Ollama and the demo model, and our stand-in held against it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request

import pytest
from ollama import AsyncClient
from ollamas import DATA

from synaptic.cluster.node import Node
from synaptic.cluster.nodes import Kind, Nodes
from synaptic.engines.engine import Message, Request
from synaptic.engines.ollama import Ollama
from synaptic.errors import RefusedError
from synaptic.events import Bus

pytestmark = [pytest.mark.anyio, pytest.mark.live]
QUESTION = "What is a worker?"


def engine(url: str, model: str = "demo") -> Ollama:
    return Ollama(url, model=model, stall_seconds=20, first_token_seconds=50)


def asked(**more) -> Request:
    return Request((Message("user", QUESTION),), "demo", **{"max_tokens": 40, "seed": 1} | more)


async def answer(client: Ollama, request: Request):
    chunks = [chunk async for chunk in client.generate(request)]
    return "".join(chunk.text for chunk in chunks), chunks


def shape(value: object) -> object:
    """The names, and what kind of thing each is."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def get(url: str, body: object = None) -> list[object]:
    data = None if body is None else json.dumps(body).encode()
    with contextlib.closing(urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=30)) as response:
        return [json.loads(line) for line in response.read().splitlines()]


async def test_it_streams_the_same_text_as_the_official_client(ollama) -> None:
    text, chunks = await answer(engine(ollama.url), asked())
    async with AsyncClient(ollama.url, trust_env=False) as client:
        theirs = await client.chat("demo", [{"role": "user", "content": QUESTION}], options={"num_predict": 40, "seed": 1})
    assert text == theirs.message.content
    assert len(chunks) > 5
    last = chunks[-1]
    assert (last.finish_reason, last.usage.completion_tokens) == (theirs.done_reason, theirs.eval_count)
    assert last.usage.prompt_tokens
    assert last.timings.tokens_per_second > 1


async def test_a_format_holds(ollama) -> None:
    wanted = {"type": "object", "properties": {"n": {"enum": ["seven"]}}, "required": ["n"], "additionalProperties": False}
    text, _ = await answer(engine(ollama.url), asked(format=wanted, max_tokens=60))
    assert json.loads(text) == {"n": "seven"}


async def test_options_and_keep_alive_arrive(ollama) -> None:
    _, chunks = await answer(engine(ollama.url), asked(options={"num_predict": 3}, keep_alive="0"))
    assert (chunks[-1].usage.completion_tokens, chunks[-1].finish_reason) == (3, "length")
    async with asyncio.timeout(40):
        while get(f"{ollama.url}/api/ps")[0]["models"]:  # it unloads after its answer
            await asyncio.sleep(0.05)


async def test_what_it_cannot_do_is_said(ollama) -> None:
    with pytest.raises(RefusedError, match="has no model nope: model 'nope' not found"):
        await answer(engine(ollama.url, "nope"), asked())
    with pytest.raises(RefusedError, match="does not support tools"):
        await answer(engine(ollama.url), asked(tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]))
    picture = Request((Message("user", "look", images=("AAAA",)),), "demo")
    with pytest.raises(RefusedError, match="400.: Multimodal data provided, but model does not support"):
        await answer(engine(ollama.url), picture)


async def test_a_closed_answer_ends_the_work(ollama) -> None:
    def cancelled() -> int:
        return (ollama.home / "log").read_text(errors="replace").count("cancel task")

    before, numbers = cancelled(), {"type": "array", "items": {"type": "integer"}, "minItems": 1000}
    async with contextlib.aclosing(engine(ollama.url).generate(asked(format=numbers, max_tokens=100_000))) as chunks:
        await anext(chunks)
    async with asyncio.timeout(40):
        while cancelled() == before:
            await asyncio.sleep(0.02)


async def test_a_node_is_found_cold_then_warm(ollama) -> None:
    nodes = Nodes(lambda: [Node(ollama.url, Kind.OPENAI)], Bus(), keys={})
    get(f"{ollama.url}/api/chat", {"model": "demo", "messages": [], "keep_alive": 0})
    async with asyncio.timeout(40):
        while (await nodes.refresh(within=20))[0].offers[0].is_loaded:
            await asyncio.sleep(0.05)
    cold = nodes.states()[0]
    assert (cold.node.kind, cold.software, cold.is_ready) == (Kind.OLLAMA, "Ollama", True)
    offer = cold.offers[0]
    assert (offer.name, offer.parameters, offer.quantization, offer.family) == ("demo:latest", 2_360_000, "Q4_0", "llama")
    assert (offer.context, offer.bytes > 10**6, len(offer.digest)) == (512, True, 64)
    await answer(engine(ollama.url), asked())
    assert (await nodes.refresh(within=20))[0].offers[0].is_loaded


@pytest.mark.parametrize(
    ("name", "path", "body"),
    [
        ("version.json", "/api/version", None),
        ("tags.json", "/api/tags", None),
        ("ps.json", "/api/ps", None),
        ("models.json", "/v1/models", None),
        ("chat.ndjson", "/api/chat", {"model": "demo", "messages": [{"role": "user", "content": QUESTION}], "options": {"num_predict": 6}}),
    ],
)
async def test_what_the_stand_in_repeats_is_what_it_still_says(ollama, name: str, path: str, body: object) -> None:
    if name == "ps.json":
        get(f"{ollama.url}/api/chat", {"model": "demo", "messages": []})
    recorded = [json.loads(line) for line in (DATA / name).read_text().splitlines() if line]
    said = get(ollama.url + path, body)
    assert shape(said[-1]) == shape(recorded[-1])
    assert shape(said[0]) == shape(recorded[0])
