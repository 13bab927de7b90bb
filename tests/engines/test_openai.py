"""Answers over HTTP, and what becomes of broken ones."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import socket
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from synaptic.engines.engine import Chunk, Message, Request, Timings, Usage
from synaptic.engines.openai import OpenAI, tail
from synaptic.errors import EngineError, RefusedError

pytestmark = pytest.mark.anyio
QUESTION = Request((Message("user", "What is a worker?"),), "fake")
ANSWER = "A worker is a small server process on a machine that lends its memory and compute."
WORDS = 16


def engine(url: str, *, key: str | None = None, stall: float = 20.0, first: float = 40.0) -> OpenAI:
    return OpenAI(url, model="fake", key=key, stall_seconds=stall, first_token_seconds=first)


@dataclasses.dataclass
class Heard:
    """Everything that came, and how it ended."""

    text: str = ""
    reasoning: str = ""
    last: Chunk | None = None
    error: EngineError | None = None


async def hear(client: OpenAI, request: Request = QUESTION) -> Heard:
    heard = Heard()
    try:
        async for chunk in client.generate(request):
            heard.text += chunk.text
            heard.reasoning += chunk.reasoning
            heard.last = chunk
    except EngineError as error:
        heard.error = error
    return heard


async def test_an_answer_comes_in_pieces_and_ends_with_its_reason_and_numbers(fakellama) -> None:
    chunks = [chunk async for chunk in engine(fakellama("delay_ms=5")).generate(QUESTION)]
    assert "".join(chunk.text for chunk in chunks) == ANSWER
    assert len(chunks) == WORDS + 1
    assert [chunk.finish_reason for chunk in chunks] == [None] * WORDS + ["stop"]
    last = chunks[-1]
    assert last.usage == Usage(prompt_tokens=4, completion_tokens=WORDS, cached_tokens=0)
    assert last.timings
    assert last.timings.ttft_ms
    assert last.timings.total_ms
    assert last.timings.tokens_per_second
    assert 5 <= last.timings.ttft_ms < last.timings.total_ms


async def test_a_server_that_counts_nothing_is_counted_by_us(fakellama) -> None:
    heard = await hear(engine(fakellama("plain delay_ms=5")))
    assert heard.last
    assert heard.last.usage == Usage(prompt_tokens=None, completion_tokens=WORDS)
    assert heard.last.timings
    assert heard.last.timings.tokens_per_second


async def test_the_speed_of_one_token_is_not_invented(fakellama) -> None:
    heard = await hear(engine(fakellama()), dataclasses.replace(QUESTION, max_tokens=1))
    assert (heard.text, heard.last and heard.last.finish_reason) == ("A", "length")
    assert heard.last
    assert heard.last.timings
    assert heard.last.timings.tokens_per_second is None


async def test_what_the_model_thinks_is_not_its_answer(fakellama) -> None:
    heard = await hear(engine(fakellama("reasoning")))
    assert (heard.text, heard.reasoning) == (ANSWER, "Let me think.")


@pytest.mark.parametrize("faults", ["crlf", "split_utf8", "crlf split_utf8 no_newline", "bad_json_after=3", "end_at_finish", "no_newline"])
async def test_odd_streams_give_the_exact_text(fakellama, faults: str) -> None:
    text = "Grüße, 世界 😀 \u2028 [/INST] list[str] \x1b]52;c;ZQ==\x07 \x9b31m \u202e \r end "
    heard = await hear(engine(fakellama(faults, FAKE_TEXT=text)))
    assert heard.error is None
    assert heard.text == text
    assert heard.last
    assert heard.last.finish_reason == "stop"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("cut_after=5", "the answer ended early: the connection broke"),
        ("rst_after=5", "the answer ended early: the connection broke"),
        ("abort_after=5", "the answer ended early: the connection broke"),
        ("lose_worker=5", "the answer ended early: the connection broke"),
        ("no_done", "the answer ended early: the server closed the stream"),
        ("no_finish", "the answer ended early: the server closed the stream"),
        ("error_after=5", r"the answer ended early: the graph failed\^\[\[2J"),
        ("bad_json", "the answer ended early: what the server sends is no JSON"),
        ("big_line=2", "the server sent an event of more than 1 MiB"),
        ("stall_after=5", "no token for 1 s"),
        ("ping_after=5", "no token for 1 s"),
    ],
)
async def test_a_broken_answer_is_never_taken_for_a_whole_one(fakellama, fault: str, message: str) -> None:
    heard = await hear(engine(fakellama(f"{fault} delay_ms=2"), stall=1 if message == "no token for 1 s" else 20))
    with pytest.raises(EngineError, match=message):
        raise heard.error or AssertionError("it ended well")
    assert heard.last is None or heard.last.finish_reason is None
    assert ANSWER.startswith(heard.text)
    if fault.endswith("=5") and fault != "rst_after=5":  # a reset may take what was not read yet
        assert heard.text == "A worker is a small"


async def test_a_stalled_server_still_calls_itself_healthy(fakellama) -> None:
    client = engine(fakellama("stall_after=2"), stall=0.3)
    assert (await hear(client)).error
    assert await client.is_ready()


async def test_the_first_token_has_a_patience_of_its_own(fakellama) -> None:
    slow = fakellama("delay_ms=1500 repeat=1", FAKE_TEXT="late")
    assert (await hear(engine(slow, stall=1))).text == "late"
    heard = await hear(engine(fakellama("stall_after=0"), stall=60, first=0.2))
    assert "no token for 0.2 s" in str(heard.error)


async def test_an_answer_that_is_complete_needs_no_polite_goodbye(fakellama) -> None:
    async with asyncio.timeout(40):
        heard = await hear(engine(fakellama("linger"), stall=1000))
    assert heard.error is None
    assert heard.text == ANSWER


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (500, r"refused the request \(HTTP 500\): as you wish\^\[\[2J"),
        (503, "is still loading its model"),
        (404, "has no model fake, or no chat API: as you wish"),
        (401, "does not accept our key"),
        (302, "sends us elsewhere .HTTP 302.; redirects are not followed"),
        (429, "takes no more requests now: as you wish"),
    ],
)
async def test_a_refusal_is_told_in_words(fakellama, status: int, message: str) -> None:
    heard = await hear(engine(fakellama(f"status={status}")))
    with pytest.raises(EngineError, match=message):
        raise heard.error or AssertionError("it answered")


async def test_a_prompt_too_long_is_told_with_both_numbers(fakellama) -> None:
    heard = await hear(engine(fakellama("", "-c", "3")))
    assert str(heard.error) == "the prompt has 4 tokens, but the context holds only 3"
    assert heard.error
    assert "clear" in str(heard.error.hint)


async def test_only_our_key_opens_the_door(fakellama) -> None:
    url = fakellama("", "--alias", "demo", key="sesame")
    assert (await hear(engine(url, key="sesame"))).text == ANSWER
    assert await engine(url, key="sesame").models() == ("demo",)
    for wrong in ("other", None):
        assert f"{url} does not accept our key" in str((await hear(engine(url, key=wrong))).error)
        with pytest.raises(EngineError, match="does not accept our key"):
            await engine(url, key=wrong).models()


async def test_loading_is_not_ready_and_nobody_is_not_ready_either(fakellama, free_port: int) -> None:
    assert not await engine(fakellama("never_ready")).is_ready()
    assert not await engine(f"http://127.0.0.1:{free_port}").is_ready()
    assert await engine(fakellama()).is_ready()


async def test_nobody_there_is_said_with_the_way_out(free_port: int) -> None:
    client = engine(f"http://127.0.0.1:{free_port}")
    error = (await hear(client)).error
    assert str(error) == f"nothing answers at http://127.0.0.1:{free_port}"
    assert error
    assert error.hint == "try: coordinator restart"
    with pytest.raises(EngineError, match="nothing answers"):
        await client.models()


async def test_a_coordinator_that_dies_of_the_question_does_not_answer(fakellama) -> None:
    heard = await hear(engine(fakellama("lose_worker=0")))
    assert str(heard.error).startswith(("nothing answers at", "the answer ended early"))  # as far as its headers came
    assert heard.text == ""


async def is_processing(url: str) -> bool:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/slots") as response:
        return bool((await response.json())[0]["is_processing"])


@contextlib.asynccontextmanager
async def answering(url: str) -> AsyncIterator[asyncio.Task[Heard]]:
    task = asyncio.create_task(hear(engine(url)))
    while not await is_processing(url):
        assert not task.done()
    yield task
    async with asyncio.timeout(30):
        while await is_processing(url):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("faults", ["delay_ms=5 repeat=500", "stall_after=3"])
async def test_a_cancelled_answer_frees_its_slot(fakellama, faults: str) -> None:
    async with answering(fakellama(faults)) as task:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_an_answer_that_is_closed_frees_its_slot(fakellama) -> None:
    url = fakellama("delay_ms=5 repeat=500")
    async with contextlib.aclosing(engine(url).generate(QUESTION)) as chunks:
        assert (await anext(chunks)).text == "A"
        assert await is_processing(url)
    async with asyncio.timeout(30):
        while await is_processing(url):
            await asyncio.sleep(0.01)


async def test_only_what_was_asked_for_is_sent_and_the_key_only_in_the_header() -> None:
    received: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length
        received.put_nowait((head, await reader.readexactly(int(length[1]))))
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/"
        await hear(OpenAI(url, model="m", key="sesame", stall_seconds=20), Request((Message("user", "hi"),), "x", temperature=0.0, seed=7))
    head, body = received.get_nowait()
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert head.count(b"Authorization: Bearer sesame\r\n") == 1
    assert b"Cookie" not in head
    assert json.loads(body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "seed": 7,
    }


async def test_time_in_which_we_were_stopped_is_not_the_servers(fakellama) -> None:
    client = engine(fakellama("delay_ms=50"), stall=2)
    asyncio.get_running_loop().call_later(0.2, time.sleep, 2.5)
    assert (await hear(client)).text == ANSWER


async def test_a_session_that_was_lent_is_given_back_open(fakellama) -> None:
    async with aiohttp.ClientSession() as session:
        client = OpenAI(fakellama(), model="fake", key=None, stall_seconds=20, session=session)
        assert (await hear(client)).text == ANSWER
        assert (await hear(client)).text == ANSWER
        assert not session.closed


async def test_a_port_that_never_answers_is_given_up() -> None:
    with socket.socket() as tarpit:
        tarpit.bind(("127.0.0.1", 0))
        tarpit.listen()
        heard = await hear(engine(f"http://127.0.0.1:{tarpit.getsockname()[1]}", first=0.2))
    assert "no token for 0.2 s" in str(heard.error)


@pytest.mark.parametrize(
    ("usage", "timings", "line"),
    [
        (Usage(12, 182), Timings(900.0, 14.2, 13000.0), "182 tokens · 14.2 tok/s · 0.9 s to first"),
        (Usage(12, 182), Timings(12.0, 979.97, 200.0), "182 tokens · 980.0 tok/s · 12 ms to first"),
        (Usage(12, 3), Timings(900.0, 14.2, 1100.0), "3 tokens"),
        (Usage(12, 1), Timings(900.0, None, 900.0), "1 token"),
        (Usage(12, 50), Timings(None, 14.2, None), "50 tokens · 14.2 tok/s"),
        (Usage(None, 50), None, "50 tokens"),
        (None, None, ""),
    ],
)
def test_the_line_below_an_answer_says_only_what_is_known(usage: Usage | None, timings: Timings | None, line: str) -> None:
    assert tail(usage, timings) == line


@pytest.mark.parametrize(("status", "is_to_blame"), [(400, False), (404, False), (401, True), (500, True), (503, True)])
async def test_a_refusal_tells_whose_fault_it_is_and_what_mends_it(fakellama, status: int, is_to_blame: bool) -> None:
    url = fakellama(f"status={status}")
    client = OpenAI(url, model="fake", key=None, stall_seconds=20, remedy="try: nodes health")
    error = (await hear(client)).error
    assert error
    assert isinstance(error, RefusedError) is not is_to_blame
    assert "coordinator" not in (error.hint or "")
