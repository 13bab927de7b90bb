"""Answers of Ollama, and what becomes of broken ones."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import time

import pytest

from synaptic.engines.engine import Chunk, Message, Request, StalledError, Usage
from synaptic.engines.ollama import Ollama
from synaptic.errors import EngineError, RefusedError

pytestmark = pytest.mark.anyio
QUESTION = Request((Message("user", "What is a worker?"),), "demo")
ANSWER = "A worker is a small server process on a machine that lends its memory and compute."
WORDS = 16


def engine(url: str, *, model: str = "demo:latest", key: str | None = None, stall: float = 20.0, first: float = 40.0) -> Ollama:
    return Ollama(url, model=model, key=key, stall_seconds=stall, first_token_seconds=first)


@dataclasses.dataclass
class Heard:
    """Everything that came, and how it ended."""

    text: str = ""
    reasoning: str = ""
    calls: list = dataclasses.field(default_factory=list)
    last: Chunk | None = None
    error: EngineError | None = None


async def hear(client: Ollama, request: Request = QUESTION) -> Heard:
    heard = Heard()
    try:
        async for chunk in client.generate(request):
            heard.text += chunk.text
            heard.reasoning += chunk.reasoning
            heard.calls += chunk.tool_calls or []
            heard.last = chunk
    except EngineError as error:
        heard.error = error
    return heard


async def test_an_answer_comes_in_pieces_and_ends_with_its_reason_and_numbers(ollamafake) -> None:
    chunks = [chunk async for chunk in engine(ollamafake("--delay", 5).url).generate(QUESTION)]
    assert "".join(chunk.text for chunk in chunks) == ANSWER
    assert [chunk.finish_reason for chunk in chunks] == [None] * WORDS + ["stop"]
    last = chunks[-1]
    assert last.usage == Usage(prompt_tokens=35, completion_tokens=WORDS)
    assert last.timings
    assert last.timings.tokens_per_second == 50.0
    assert (last.timings.total_ms or 0) >= 5
    assert 0 < (last.timings.ttft_ms or 0) < (last.timings.total_ms or 0)


async def test_what_the_model_thinks_is_not_its_answer_and_its_calls_come_whole(ollamafake) -> None:
    heard = await hear(engine(ollamafake("--fault", "thinking,tools").url))
    assert (heard.text, heard.reasoning) == (ANSWER, "Let me think.")
    assert heard.calls == [{"id": "call_1", "function": {"index": 0, "name": "look_up", "arguments": {"word": "worker"}}}]


@pytest.mark.parametrize("fault", ["", "split", "crlf"])
async def test_odd_streams_give_the_exact_text(ollamafake, fault: str) -> None:
    text = "Grüße, 世界 😀 \u2028 \u2029 \x85 [/INST] list[str] \x1b]52;c;ZQ==\x07 \x9b31m \u202e \r \x0b \x1c end "
    heard = await hear(engine(ollamafake("--fault", fault, "--text", text).url))
    assert heard.error is None
    assert heard.text == text


@pytest.mark.parametrize(
    ("fault", "message", "kept"),
    [
        ("cut=5", "the answer ended early: the connection broke", 5),
        ("rst=5", "the answer ended early: the connection broke", None),  # a RST may overtake what was sent
        ("no-done", "the answer ended early: the server closed the stream", WORDS),
        ("garbage=5", "the answer ended early: what the server sends is no JSON", 5),
        ("array=5", "the answer ended early: what the server sends is no JSON", 5),
        ("error=5", "the answer ended early: the runner^[[2J has died", 5),
        ("line=2", "the server sent a line of more than 1 MiB", 1),
        ("gzip", "the server compresses its answer unasked, which is not read here", 0),
    ],
)
async def test_a_broken_answer_is_an_error_and_what_came_is_kept(ollamafake, fault: str, message: str, kept: int | None) -> None:
    heard = await hear(engine(ollamafake("--fault", fault).url))
    assert str(heard.error) == message
    assert not isinstance(heard.error, RefusedError | StalledError)
    assert ANSWER.startswith(heard.text)
    assert kept is None or len(heard.text.split()) == kept


async def test_a_line_of_64_mb_costs_no_memory(ollamafake) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    heard = await hear(engine(ollamafake("--fault", "line=64").url))
    assert "1 MiB" in str(heard.error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * 1024


@pytest.mark.parametrize(
    ("status", "message", "hint", "kind"),
    [
        (400, "refused the request (HTTP 400): the model^[[2J is out of order", None, RefusedError),
        (401, "does not accept our key: the model^[[2J is out of order", "try: nodes add {url} --key-env NAME", EngineError),
        (500, "refused the request (HTTP 500): the model^[[2J is out of order", None, EngineError),
        (503, "is too busy: the model^[[2J is out of order", "try again in a moment", EngineError),
    ],
)
async def test_a_refusal_says_why_and_whose_fault_it_is(ollamafake, status: int, message: str, hint: str | None, kind: type) -> None:
    url = ollamafake("--fault", f"status={status}").url
    error = (await hear(engine(url))).error
    assert type(error) is kind
    assert (str(error), error.hint) == (f"{url} {message}", hint and hint.format(url=url))


async def test_a_model_that_is_not_there_is_named_with_the_way_to_get_it(ollamafake) -> None:
    url = ollamafake().url
    error = (await hear(engine(url, model="llama9\x1b[2J"))).error
    assert isinstance(error, RefusedError)
    assert str(error) == f"{url} has no model llama9^[[2J: model 'llama9^[[2J' not found"
    assert error.hint == "try: model pull llama9^[[2J"


async def test_a_redirect_is_not_followed(ollamafake) -> None:
    elsewhere = ollamafake()
    error = (await hear(engine(ollamafake("--fault", "redirect", "--to", f"{elsewhere.url}/api/chat").url))).error
    assert "sends us elsewhere (HTTP 307); redirects are not followed" in str(error)
    assert elsewhere.lines() == []


@pytest.mark.parametrize("fault", ["hang", "hang-mid=3", "blank=3"])
async def test_silence_is_given_up_and_the_connection_closed(ollamafake, fault: str) -> None:
    fake = ollamafake("--fault", fault)
    heard = await hear(engine(fake.url, stall=1, first=1 if fault == "hang" else 20))
    assert isinstance(heard.error, StalledError)
    assert str(heard.error) == f"no token from {fake.url} for 1 s"
    assert len(heard.text.split()) == (0 if fault == "hang" else 3)
    await asyncio.to_thread(fake.heard, "gone")


async def test_nobody_there_is_said_with_the_way_out(free_port: int) -> None:
    error = (await hear(engine(f"http://127.0.0.1:{free_port}"))).error
    assert (str(error), error and error.hint) == (f"nothing answers at http://127.0.0.1:{free_port}", "try: nodes health")


async def test_time_in_which_we_were_stopped_is_not_the_servers(ollamafake) -> None:
    client = engine(ollamafake("--delay", 50).url, stall=2)
    asyncio.get_running_loop().call_later(0.2, time.sleep, 2.5)
    assert (await hear(client)).text == ANSWER


@pytest.mark.parametrize("fault", ["", "hang", "hang-mid=3"])
async def test_a_cancelled_answer_leaves_the_server_at_once(ollamafake, fault: str) -> None:
    fake = ollamafake("--fault", fault, "--delay", 5, "--repeat", 2000)
    task = asyncio.create_task(hear(engine(fake.url)))
    await asyncio.to_thread(fake.heard, "POST /api/chat")
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await asyncio.to_thread(fake.heard, "gone")


async def test_an_answer_that_is_closed_leaves_the_server(ollamafake) -> None:
    fake = ollamafake("--delay", 5, "--repeat", 2000)
    async with contextlib.aclosing(engine(fake.url).generate(QUESTION)) as chunks:
        assert (await anext(chunks)).text == "A"
    await asyncio.to_thread(fake.heard, "gone")


async def test_everything_asked_for_is_passed_on_as_it_is(ollamafake, tmp_path) -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"anyOf": [{"minimum": 3}]}}}},
    }
    call = {"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}
    path = tmp_path / "secret.png"
    path.write_text("a secret")
    request = Request(
        (
            Message("user", "look", images=(base64.b64encode(b"\x89PNG").decode(), str(path))),
            Message("assistant", "", tool_calls=[call]),
            Message("tool", "3", tool_name="f"),
        ),
        "other",
        temperature=0.0,
        seed=0,
        max_tokens=7,
        context=64,
        keep_alive="5m",
        format={"type": "object"},
        tools=[tool],
        options={"top_k": 3, "temperature": 0.5},
    )
    dump = tmp_path / "asked.json"
    await hear(engine(ollamafake("--dump", dump).url, key="sesame"), request)
    asked = json.loads(dump.read_text())
    assert asked["body"] == {
        "model": "demo:latest",
        "messages": [
            {"role": "user", "content": "look", "images": ["iVBORw==", str(path)]},  # a string is never taken for a file to read
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "3", "tool_name": "f"},
        ],
        "stream": True,
        "options": {"temperature": 0.5, "seed": 0, "num_predict": 7, "num_ctx": 64, "top_k": 3},
        "format": {"type": "object"},
        "tools": [tool],
        "keep_alive": "5m",
    }
    assert asked["headers"]["authorization"] == "Bearer sesame"


async def test_only_our_own_key_is_sent_and_no_proxy_is_used(ollamafake, tmp_path, monkeypatch, free_port: int) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "of-the-user")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port}")
    dump = tmp_path / "asked.json"
    assert (await hear(engine(ollamafake("--dump", dump).url))).text == ANSWER
    asked = json.loads(dump.read_text())
    assert "authorization" not in {name.lower() for name in asked["headers"]}
    assert asked["body"] == {"model": "demo:latest", "messages": [{"role": "user", "content": "What is a worker?"}], "stream": True}
