"""The client and the real llama-server, with the demo model, whose answers are known texts."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import anyio
import pytest
from conftest import DEMO, end

from synaptic.cluster.backend import Kind
from synaptic.cluster.node import Node
from synaptic.cluster.nodes import Nodes
from synaptic.engines.engine import Chunk, Message, Request
from synaptic.engines.llama_server import LlamaServer
from synaptic.engines.openai import OpenAI
from synaptic.errors import EngineError
from synaptic.events import Bus

pytestmark = [pytest.mark.anyio, pytest.mark.live]
ANSWER = (
    "A worker is a small server process on a machine that lends its memory and compute. "
    "It receives weights once, then takes part in the computation of every token."
)
KEY = "sesame"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "llama-server.log"


@pytest.fixture
def url(llama_server: Path, log: Path) -> Iterator[str]:
    words = ["-m", str(DEMO), "--alias", "demo", "--host", "127.0.0.1", "--port", "0", "--no-ui", "--offline", "--slots"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(llama_server), *words, "-c", "512", "-np", "1", "-t", "1", "--log-colors", "off"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"LLAMA_API_KEY": KEY, "GGML_NO_BACKTRACE": "1"},
        )
    try:
        yield _listening(process, log)
    finally:
        end(process)


def _listening(process: subprocess.Popen[bytes], log: Path) -> str:
    while process.poll() is None:
        for line in log.read_text(errors="replace").splitlines():
            if "listening on http" in line:
                return line.split()[-1]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    raise AssertionError(log.read_text(errors="replace")[-2000:])


@pytest.fixture
def engine(url: str) -> Callable[[str], OpenAI]:
    return lambda key: OpenAI(url, model="demo", key=key, stall_seconds=20)


def ask(text: str, **options: int) -> Request:
    return Request((Message("user", text),), "demo", temperature=0.0, **options)


async def test_the_known_answer_comes_whole_with_its_numbers(engine) -> None:
    chunks = [chunk async for chunk in engine(KEY).generate(ask("What is a worker?"))]
    assert "".join(chunk.text for chunk in chunks) == ANSWER
    last = chunks[-1]
    assert last.finish_reason == "stop"
    assert last.usage
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (15, len(chunks))  # the end of turn is a token too
    assert last.timings
    assert last.timings.ttft_ms
    assert last.timings.total_ms
    assert last.timings.tokens_per_second
    assert last.timings.ttft_ms < last.timings.total_ms


async def test_it_says_when_it_was_cut_off_by_our_limit(engine) -> None:
    chunks = [chunk async for chunk in engine(KEY).generate(ask("What is a worker?", max_tokens=3))]
    assert "".join(chunk.text for chunk in chunks) == "A worker is"
    assert chunks[-1].finish_reason == "length"


async def test_an_answer_nobody_listens_to_is_cancelled_and_its_slot_is_free(engine, url: str, log: Path) -> None:
    rambling = Request((Message("user", "What is a worker?"),), "demo", temperature=9.0, seed=1)  # hundreds of tokens
    async with contextlib.aclosing(engine(KEY).generate(rambling)) as chunks:
        await anext(chunks)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        with anyio.fail_after(40):
            while await _is_processing(http, url) or "cancel task" not in log.read_text(errors="replace"):
                pass
    assert "".join([chunk.text async for chunk in engine(KEY).generate(ask("What is a worker?"))]) == ANSWER


async def _is_processing(http: aiohttp.ClientSession, url: str) -> bool:
    async with http.get(f"{url}/slots") as response:
        (slot,) = await response.json()
        return bool(slot["is_processing"])


async def test_it_is_ready_and_ours(engine) -> None:
    assert await engine(KEY).is_ready()
    assert await engine(KEY).models() == ("demo",)


async def test_a_wrong_key_is_told_in_words(engine, url: str) -> None:
    with pytest.raises(EngineError, match=f"{url} does not accept our key"):
        [chunk async for chunk in engine("wrong").generate(ask("hi"))]
    with pytest.raises(EngineError, match="does not accept our key"):
        await engine("wrong").models()


async def test_a_prompt_longer_than_the_context_is_told_with_both_numbers(engine) -> None:
    with pytest.raises(EngineError, match=r"the prompt has \d+ tokens, but the context holds only 512") as caught:
        [chunk async for chunk in engine(KEY).generate(ask("word " * 800))]
    assert "clear" in str(caught.value.hint)


async def test_as_a_node_it_says_what_it_is_and_what_it_has_loaded(url: str) -> None:
    nodes = Nodes(lambda: [Node(url, Kind.OLLAMA, key_variable="ITS_KEY")], Bus(), keys={"ITS_KEY": KEY})
    [state] = await nodes.refresh(within=20)
    assert (state.node.kind, state.software, state.is_ready) == (Kind.OPENAI, "llama-server", True)
    [offer] = state.offers
    assert (offer.name, offer.parameters, offer.is_loaded) == ("demo", 2_361_600, True)
    assert (offer.context, offer.bytes > 10**6) == (512, True)
    client = OpenAI(url, model=offer.name, key=nodes.key(url), stall_seconds=20)
    question = Request(
        (Message("user", "What is a worker?"),), "demo", temperature=0.0, format={"enum": ["seven"]}, options={"num_predict": 20}
    )
    assert "".join([chunk.text async for chunk in client.generate(question)]) == '"seven"'


async def test_a_conversation_of_which_not_all_tokens_are_known_is_tested_too(url: str) -> None:
    """One piece of text was two tokens, and the server named one of them; what they make is written otherwise."""
    server = LlamaServer(url, model="demo", key=KEY, stall_seconds=20.0)
    written = (Chunk("A", ids=(1, 2), tokens=2), Chunk("\ufffd", ids=(3,), tokens=2))
    chunks = [chunk async for chunk in server.test(Request((Message("user", "What is a worker?"),), "demo"), written)]
    assert chunks[-1].usage.completion_tokens == 1
