"""
Who is asked: a server by its address, the llama-server of a route, or whatever else a route leads to.

Where the server has words for it, it is told to keep no prompt (`cache_prompt`) and to write as many tokens as were
asked for (`ignore_eos`); other servers would refuse a word that they do not know.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Callable

from synaptic.bench.fetch import fetched
from synaptic.bench.load.mixes import Prompt
from synaptic.cluster.software import LLAMA_SERVER, OLLAMA_NAME, VLLM
from synaptic.engines.answering import Answering
from synaptic.engines.engine import Chunk, Engine, Request
from synaptic.engines.ollama import Ollama
from synaptic.engines.openai import LONGEST_REPLY, REPLY_WITHIN, OpenAI
from synaptic.planning.plan import Route
from synaptic.terminal import one_line

PATIENCE = 600.0  # seconds to a first token
STALL = 60.0  # seconds without a token
GATEWAY = "SynapticLlamas gateway"


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
    if software == OLLAMA_NAME:
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
    return one_line(str((await _document(f"{url}/props", key)).get("build_info", "")), 80)


async def gateway_of(url: str, key: str | None) -> str:
    """The version of a gateway of ours, which speaks like several others; empty: it is none."""
    return one_line(str((await _document(f"{url}/api/version", key)).get("synaptic", "")), 80)


async def is_loaded(url: str, key: str | None, model: str) -> bool | None:
    """Whether an Ollama server has the model in memory. None: it does not say."""
    listed = (await _document(f"{url}/api/ps", key)).get("models")
    if not isinstance(listed, list):
        return None
    names = {str(each.get("name", "")) for each in listed if isinstance(each, dict)}
    return bool(names & {model, f"{model}:latest"})


async def _document(url: str, key: str | None) -> dict[str, object]:
    """A short JSON object; empty where nothing gives one."""
    try:
        document = json.loads(await fetched(url, key, limit=LONGEST_REPLY, within=REPLY_WITHIN))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
