"""
A client of dllama-api, which speaks the OpenAI chat API almost, and ends of what it does not expect.

It must never see a connection without a request, bad JSON, `stop` as a string, `content` as a list, or `temperature`
as text. It takes messages of text, max_tokens and seed; its temperature is set when it starts. It finishes every
answer with "stop", and answers a prompt that is longer than its context with nothing.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from types import SimpleNamespace

import aiohttp

from synaptic.cluster.http import quiet_socket
from synaptic.engines.engine import Chunk, Message, Request
from synaptic.engines.openai import OpenAI
from synaptic.errors import RefusedError

_ROLES = ("system", "user", "assistant")
_LARGEST = 2**31 - 1  # an int of C
_LEAVES_POLITELY = b"\0" * 8  # of SO_LINGER


class DllamaApi(OpenAI):
    async def generate(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """As OpenAI.generate. Raises RefusedError for what dllama-api cannot be asked."""
        limit, has_text = _whole(request.options.get("num_predict", request.max_tokens)), False
        async with contextlib.aclosing(super().generate(request)) as chunks:
            async for chunk in chunks:
                has_text = has_text or bool(chunk.text)
                if chunk.finish_reason and not has_text:
                    raise RefusedError(
                        "dllama answered nothing: the prompt is probably longer than its context",
                        hint="try: clear, a shorter prompt, or a larger context: config set context N",
                    )
                yield _with_reason(chunk, limit) if chunk.finish_reason else chunk

    def _payload(self, request: Request) -> dict[str, object]:
        if request.prompt is not None:
            raise RefusedError("dllama takes no plain prompt, only a chat", hint="try: a model at an Ollama node, or of llama.cpp")
        asked: dict[str, object] = {"messages": [_message(each) for each in request.messages], "stream": True}
        if (limit := _whole(request.options.get("num_predict", request.max_tokens))) is not None:
            asked["max_tokens"] = limit
        if (seed := _whole(request.options.get("seed", request.seed))) is not None:
            asked["seed"] = seed
        return asked

    @contextlib.asynccontextmanager
    async def _http(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A connection that does not exist for the server before its request does, however soon we are cancelled."""
        sockets: list[socket.socket] = []

        def opened(info: tuple[int, int, int, str, object]) -> socket.socket:
            sockets.append(quiet_socket(info))
            return sockets[-1]

        async def sent(session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestChunkSentParams) -> None:
            """From here on a reset would take the request from under its eyes."""
            for sock in sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LEAVES_POLITELY)

        trace = aiohttp.TraceConfig()
        trace.on_request_chunk_sent.append(sent)
        connector = aiohttp.TCPConnector(force_close=True, socket_factory=opened)
        async with aiohttp.ClientSession(
            connector=connector, trace_configs=[trace], trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            yield session


def _message(message: Message) -> dict[str, str]:
    if message.images:
        raise RefusedError("dllama reads no images", hint="try: a model at an Ollama node")
    if message.role not in _ROLES or message.tool_calls:
        raise RefusedError("dllama calls no tools", hint="try: a model at an Ollama node, or of llama.cpp")
    return {"role": message.role, "content": message.content.encode(errors="replace").decode()}


def _with_reason(last: Chunk, limit: int | None) -> Chunk:
    reached = limit is not None and last.usage is not None and last.usage.completion_tokens >= limit
    return last._replace(finish_reason="length") if reached else last


def _whole(value: object) -> int | None:
    """What fits into a number of C; anything else would end the server."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST:
        return None
    return value
