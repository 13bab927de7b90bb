"""
Who is asked: a server by its address, the llama-server of a route, or whatever else a route leads to.

Where the server has words for it, it is told to keep no prompt (`cache_prompt`) and to write as many tokens as were
asked for (`ignore_eos`); other servers would refuse a word that they do not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable

from synaptic.bench.mixes import Prompt
from synaptic.engines.answering import Answering
from synaptic.engines.engine import Chunk, Engine, Request
from synaptic.engines.ollama import Ollama
from synaptic.engines.openai import LONGEST_REPLY, REPLY_WITHIN, OpenAI
from synaptic.planning.plan import Route
from synaptic.terminal import one_line

LLAMA_SERVER, VLLM = "llama-server", "vLLM"
PATIENCE = 600.0  # seconds to a first token
STALL = 60.0  # seconds without a token


class Engines:
    """Requests to one engine; a new one for each, as the first words of a connection belong to the answer's time."""

    def __init__(self, open_one: Callable[[bool], Engine], model: str) -> None:
        self._open_one = open_one
        self._model = model

    async def answer(self, prompt: Prompt, *, may_cache: bool) -> AsyncGenerator[Chunk, None]:
        request = Request(prompt.messages, self._model, temperature=0.0, seed=0, max_tokens=prompt.answer_tokens)
        async with contextlib.aclosing(self._open_one(may_cache).generate(request)) as chunks:
            async for chunk in chunks:
                yield chunk


def at_server(url: str, *, model: str, key: str | None, software: str) -> Engines:
    """`software`: "Ollama", "llama-server", "vLLM"; others are asked in the words of OpenAI's API alone."""
    if software == "Ollama":
        return Engines(lambda _: Ollama(url, model=model, key=key, stall_seconds=STALL, first_token_seconds=PATIENCE), model)
    return Engines(lambda may_cache: _Told(url, model, key, _words(software, may_cache)), model)


class _Told(OpenAI):
    """Its payload has words beyond the API's."""

    def __init__(self, url: str, model: str, key: str | None, words: dict[str, object]) -> None:
        super().__init__(url, model=model, key=key, stall_seconds=STALL, first_token_seconds=PATIENCE, remedy="is the server up?")
        self._words = words

    def _payload(self, request: Request) -> dict[str, object]:
        return super()._payload(request) | self._words


def _words(software: str, may_cache: bool) -> dict[str, object]:
    if software == LLAMA_SERVER:
        return {"ignore_eos": True, "cache_prompt": may_cache}
    return {"ignore_eos": True} if software == VLLM else {}


class Attempts:
    """Requests to where a route leads, whatever that is: what only dllama-api needs."""

    def __init__(self, answering: Answering, route: Route) -> None:
        self._answering = answering
        self._route = route

    async def answer(self, prompt: Prompt, *, may_cache: bool) -> AsyncGenerator[Chunk, None]:
        name = self._route.model.name
        request = Request(prompt.messages, name, temperature=0.0, seed=0, max_tokens=prompt.answer_tokens)
        async with contextlib.aclosing(self._answering.attempt(self._route).chunks(request, ())) as chunks:
            async for chunk in chunks:
                yield chunk


async def build_of(url: str, key: str | None) -> str:
    """What a llama-server says it was built from; empty where nothing says so."""
    import aiohttp

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with (
            asyncio.timeout(REPLY_WITHIN),
            aiohttp.ClientSession(trust_env=False, headers=headers) as http,
            http.get(f"{url}/props", allow_redirects=False) as response,
        ):
            document = json.loads(await response.content.read(LONGEST_REPLY))
    except (aiohttp.ClientError, OSError, ValueError, RecursionError):
        return ""
    return one_line(str(document.get("build_info", "")), 80) if isinstance(document, dict) else ""
