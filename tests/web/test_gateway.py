"""The gateway on a socket, in front of an Ollama that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from gateways import Served, ollama_client, serving, session_at
from ollama import ResponseError
from ollamas import StartOllama

from synaptic.process.child import State
from synaptic.web.gateway.app import LARGEST
from synaptic.web.gateway.face import GatewayFace
from synaptic.web.gateway.turns import Turns

pytestmark = pytest.mark.anyio
TEXT = "A worker is a small server process on a machine that lends its memory and compute."
HELLO = {"model": "demo:latest", "messages": [{"role": "user", "content": "hello"}]}
FAKELLAMA = Path(__file__).parents[1] / "fakes" / "fakellama.py"


@pytest.fixture
async def served(tmp_path: Path, ollamafake: StartOllama) -> AsyncIterator[Callable[..., Awaitable[Served]]]:
    """Starts a gateway in front of one node with these options."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*options: object, turns: Turns | None = None) -> Served:
            node = ollamafake(*options)
            gateway = await stack.enter_async_context(serving(tmp_path, nodes=[node.url], turns=turns))
            return dataclasses.replace(gateway, node=node)

        yield start


async def test_the_official_client_gets_an_answer_whole_and_in_pieces(served) -> None:
    gateway = await served()
    async with ollama_client(gateway.url) as client:
        whole = await client.chat("demo:latest", messages=HELLO["messages"])
        pieces = [part async for part in await client.generate("demo:latest", prompt="hello", stream=True)]
    assert (whole.message.content, whole.done, whole.done_reason, whole.eval_count) == (TEXT, True, "stop", 16)
    assert "".join(part.response for part in pieces) == TEXT
    assert [part.done for part in pieces] == [False] * 16 + [True]
    assert pieces[-1].total_duration > 0


async def test_openai_gets_the_same_words(served) -> None:
    gateway = await served()
    status, document = await gateway.post("/v1/chat/completions", **HELLO)
    assert (status, document["choices"][0]["message"]["content"]) == (200, TEXT)
    assert document["usage"]["completion_tokens"] == 16
    events = await gateway.events("/v1/chat/completions", **HELLO)
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == TEXT
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert "usage" not in events[-1]


async def test_what_was_asked_reaches_the_node(served, tmp_path: Path) -> None:
    gateway = await served("--dump", tmp_path / "asked.json")
    tool = {"type": "function", "function": {"name": "look_up"}}
    await gateway.post(
        "/v1/chat/completions",
        **HELLO,
        tools=[tool],
        seed=3,
        max_tokens=9,
        temperature=0.5,
        stop=["\n"],
        response_format={"type": "json_object"},
    )
    asked = json.loads((tmp_path / "asked.json").read_text())["body"]
    assert asked["messages"] == HELLO["messages"]
    assert asked["options"] == {"temperature": 0.5, "seed": 3, "num_predict": 9, "stop": ["\n"]}
    assert (asked["tools"], asked["format"]) == ([tool], "json")


async def test_tool_calls_and_thoughts_come_back(served) -> None:
    gateway = await served("--fault", "thinking,tools")
    async with ollama_client(gateway.url) as client:
        answer = await client.chat("demo:latest", messages=HELLO["messages"])
    assert answer.message.thinking == "Let me think."
    assert answer.message.tool_calls[0].function.arguments == {"word": "worker"}
    _, document = await gateway.post("/v1/chat/completions", **HELLO)
    choice = document["choices"][0]
    assert choice["message"]["reasoning_content"] == "Let me think."
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"word": "worker"}
    assert choice["finish_reason"] == "tool_calls"


async def test_a_list_names_every_model_in_both_forms(served) -> None:
    gateway = await served("--loaded", "demo:latest")
    async with ollama_client(gateway.url) as client:
        assert {model.model for model in (await client.list()).models} == {"demo", "demo:latest"}
        (held,) = (await client.ps()).models
        assert (held.model, held.expires_at.isoformat()[:19]) == ("demo:latest", "2026-11-21T14:40:41"), "as the node says"
        assert (await client.show("demo")).details.quantization_level == "Q4_0"
    _, cards = await gateway.get("/v1/models")
    assert {card["id"] for card in cards["data"]} == {"demo", "demo:latest"}
    assert (await gateway.get("/v1/models/demo:latest"))[1]["object"] == "model"
    assert (await gateway.get("/api/version"))[1]["version"]


async def test_an_unknown_model_is_404_with_the_names(served) -> None:
    gateway = await served()
    async with ollama_client(gateway.url) as client:
        with pytest.raises(ResponseError, match=r"model 'nope' not found; there are: .*demo") as caught:
            await client.chat("nope", messages=HELLO["messages"])
    assert caught.value.status_code == 404
    status, document = await gateway.post("/v1/chat/completions", **HELLO | {"model": "nope"})
    assert (status, document["error"]["code"]) == (404, "model_not_found")


async def test_a_path_is_no_name(served, tmp_path: Path) -> None:
    """Whether it is there or not: a stranger learns nothing of this machine's files."""
    gateway = await served()
    demo = Path(__file__).parents[2] / "config" / "demo" / "demo-q4_0.gguf"
    said = {(await gateway.post("/api/chat", **HELLO | {"model": str(path)}))[0] for path in (demo, tmp_path / "no.gguf", "/etc/passwd")}
    assert said == {404}


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_bad_input_is_400_in_the_shape_of_its_api(served, path: str) -> None:
    gateway = await served()
    status, document = await gateway.post(path, model="demo", messages=5)
    error = document["error"] if path.startswith("/api") else document["error"]["message"]
    assert (status, error) == (400, "messages must be a list of objects, not 5")
    async with aiohttp.ClientSession() as http:
        for body, said in {b'{"model": ': "no JSON", b'["demo"]': "must be a JSON object"}.items():
            async with http.post(gateway.url + path, data=body) as answer:
                assert answer.status == 400
                assert said in await answer.text()


async def test_curl_need_not_say_that_it_sends_json(served) -> None:
    gateway = await served()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = json.dumps(HELLO | {"stream": False})
    async with aiohttp.ClientSession() as http, http.post(f"{gateway.url}/api/chat", data=body, headers=form) as answer:
        assert (await answer.json())["message"]["content"] == TEXT


async def test_a_body_without_end_is_refused(served) -> None:
    gateway = await served()
    async with aiohttp.ClientSession() as http, http.post(f"{gateway.url}/api/chat", data=io.BytesIO(b" " * (LARGEST + 1))) as answer:
        assert (answer.status, await answer.json()) == (413, {"error": "the request has more than 32 MiB"})


async def test_what_is_not_here_says_so(served) -> None:
    gateway = await served()
    assert (await gateway.post("/api/pull", model="demo"))[0] == 501
    assert await gateway.get("/api/nope") == (404, {"error": "not found: GET /api/nope"})
    status, document = await gateway.get("/v1/chat/completions")
    assert (status, document["error"]["type"]) == (405, "invalid_request_error")
    status, document = await gateway.post("/v1/embeddings", model="demo", input="hello")
    assert status == 501
    assert "llama-server --embeddings" in document["error"]["message"]


async def test_an_answer_that_breaks_says_so_in_its_stream(served) -> None:
    gateway = await served("--fault", "error=3")
    *pieces, last = map(json.loads, await gateway.lines("/api/chat", **HELLO))
    assert "".join(piece["message"]["content"] for piece in pieces) == "A worker is"
    assert "has died" in last["error"]


async def test_an_event_stream_that_breaks_says_so_too(served) -> None:
    gateway = await served("--fault", "error=3")
    events = await gateway.events("/v1/chat/completions", **HELLO)
    assert "has died" in events[-1]["error"]["message"]


async def test_one_document_is_never_half_an_answer(served) -> None:
    gateway = await served("--fault", "cut=3")
    status, document = await gateway.post("/api/chat", **HELLO | {"stream": False})
    assert status == 500
    assert "ended early" in document["error"]


async def test_a_refusal_of_the_node_is_the_clients_to_mend(served) -> None:
    gateway = await served("--fault", "status=400")
    assert (await gateway.post("/api/chat", **HELLO))[0] == 400


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
@pytest.mark.parametrize("fault", ["hang", "hang-mid=3"])
async def test_a_client_that_leaves_ends_the_work_at_once(served, path: str, fault: str) -> None:
    gateway = await served("--fault", fault)
    async with aiohttp.ClientSession() as http:
        asking = asyncio.create_task(http.post(gateway.url + path, json=HELLO | {"stream": True}))
        await asyncio.to_thread(gateway.node.heard, "POST /api/chat")
        if fault != "hang":
            answer = await asking
            await answer.content.readany()
            answer.close()
        asking.cancel()
        await asyncio.wait([asking])
    await asyncio.to_thread(gateway.node.heard, "gone")


async def test_too_many_requests_are_told_when_to_come_back(served) -> None:
    gateway = await served("--fault", "hang", turns=Turns(most=1))
    async with aiohttp.ClientSession() as http:
        first = asyncio.create_task(http.post(f"{gateway.url}/api/chat", json=HELLO))
        await asyncio.to_thread(gateway.node.heard, "POST /api/chat")
        async with http.post(f"{gateway.url}/api/chat", json=HELLO) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        first.cancel()
        await asyncio.wait([first])


async def test_closing_cuts_an_answer_with_a_word_about_it(served) -> None:
    gateway = await served("--fault", "hang-mid=3")
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{gateway.url}/api/chat", json=HELLO) as answer:
            first = await answer.content.readline()
            await gateway.gateway._answers.close(grace=0.1)
            *_, last = [line async for line in answer.content if line.strip()]
            assert json.loads(first)["message"]["content"] == "A"
            assert "the gateway is closing" in json.loads(last)["error"]
        async with http.post(f"{gateway.url}/api/chat", json=HELLO) as late:
            assert late.status == 503


async def test_a_model_that_loads_is_503_with_when_to_come_back(tmp_path: Path) -> None:
    engine = tmp_path / "llama-server"
    engine.write_text(f'#!/bin/sh\nFAKE=never_ready exec {sys.executable} {FAKELLAMA} "$@"\n')
    engine.chmod(0o755)
    async with serving(tmp_path, patience=0.2, LLAMA_SERVER=str(engine)) as gateway, aiohttp.ClientSession() as http:
        for path in ("/api/chat", "/v1/chat/completions"):
            async with http.post(gateway.url + path, json=HELLO | {"model": "demo"}) as answer:
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) >= 1
                assert "demo is loading" in await answer.text()
        (only,) = gateway.session.coordinators.all()
        assert only.state is State.STARTING  # nobody waits for it any more, and it goes on


async def test_embeddings_come_from_a_node_that_makes_them(tmp_path: Path, embedder: str) -> None:
    async with serving(tmp_path, nodes=[embedder]) as gateway, ollama_client(gateway.url) as client:
        made = await client.embed("eyes", ["one", "three"])
        assert made.embeddings == [[3.0, 0.5], [5.0, 0.5]]
        _, document = await gateway.post("/v1/embeddings", model="eyes", input="one", encoding_format="float")
        assert document["data"] == [{"object": "embedding", "index": 0, "embedding": [3.0, 0.5]}]
        assert document["usage"]["prompt_tokens"] == 1
        _, packed = await gateway.post("/v1/embeddings", model="eyes", input="one", encoding_format="base64")
        assert packed["data"][0]["embedding"] == "AABAQAAAAD8="
        assert (await gateway.post("/api/embeddings", model="eyes", prompt="one"))[1] == {"embedding": [3.0, 0.5]}


@pytest.fixture
async def embedder() -> AsyncIterator[str]:
    """A server of OpenAI's API whose vectors are the lengths of the texts."""
    from aiohttp import web

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "eyes", "object": "model"}]})

    async def embed(request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        data = [{"index": place, "embedding": [len(text), 0.5]} for place, text in enumerate(texts)]
        return web.json_response({"data": data, "usage": {"prompt_tokens": len(texts)}})

    app = web.Application()
    app.add_routes([web.get("/v1/models", models), web.post("/v1/embeddings", embed)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_with_a_key_nobody_is_let_in_without_it(tmp_path: Path) -> None:
    session = session_at(tmp_path)
    session.gateway_key = "a key of some length"
    face = GatewayFace(session)
    url = await face.start(host="127.0.0.1", port=0)
    try:
        async with ollama_client(url) as stranger:
            with pytest.raises(ResponseError) as caught:
                await stranger.list()
        assert caught.value.status_code == 401
        async with ollama_client(url, headers={"Authorization": "Bearer a key of some length"}) as known:
            assert [model.model for model in (await known.list()).models] == ["demo"]
    finally:
        await face.close()
        await session.close()
    assert face.url is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403)],
)
async def test_a_page_elsewhere_is_refused(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    session = session_at(tmp_path)
    face = GatewayFace(session)
    url = await face.start(host="127.0.0.1", port=0)
    try:
        async with aiohttp.ClientSession() as http, http.post(f"{url}/api/chat", json=HELLO, headers=headers) as answer:
            assert answer.status == status
            assert "Access-Control-Allow-Origin" not in answer.headers
    finally:
        await face.close()
        await session.close()
