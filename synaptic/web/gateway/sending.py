"""One answer on its way to its client."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic.engines.answer import Reply
from synaptic.engines.engine import Chunk
from synaptic.errors import EngineError, SynapticError
from synaptic.results import Json
from synaptic.web.gateway.refusal import NotNowError, refusal_of
from synaptic.web.gateway.shape import End, Shape, Whole

if TYPE_CHECKING:
    from aiohttp import web

CLOSES = "the gateway is closing"


class Sending:
    """
    `began`: when the request came, by a steady clock; `loaded`: seconds until its model was in memory. `over` is called as
    soon as the answer is whole: the next one need not wait until this one is sent.
    """

    def __init__(self, reply: Reply, shape: Shape, began: float, loaded: float, over: Callable[[], None], home: Path | None) -> None:
        self._reply = reply
        self._shape = shape
        self._began = began
        self._loaded = loaded
        self._over = over
        self._home = home

    async def whole(self) -> Json:
        """The answer as one document. Raises SynapticError when it is not whole."""
        said: list[Chunk] = []
        async with contextlib.aclosing(self._reply.chunks()) as chunks:
            async for chunk in chunks:
                said.append(chunk)
                if chunk.finish_reason:
                    self._over()
        if not (said and said[-1].finish_reason):
            raise self._reply.outcome().error or EngineError("the answer broke off")
        calls = [call for chunk in said if isinstance(chunk.tool_calls, list) for call in chunk.tool_calls]
        answer = Whole(self._reply.text, "".join(chunk.reasoning for chunk in said), calls)
        return self._shape.whole(answer, self._end(said[-1]))

    async def stream(self, request: web.Request, closes: Callable[[], bool], slow: float) -> web.StreamResponse:
        """A client that takes nothing for `slow` seconds is cut. Raises SynapticError where there is nothing of an answer yet."""
        from aiohttp import web

        response = web.StreamResponse(headers={"Content-Type": self._shape.streams_as, "X-Accel-Buffering": "no"})
        response._send_headers_immediately = False  # they go with the first piece: one packet, one waking of the client
        async with contextlib.aclosing(self._reply.chunks()) as chunks:
            first = await anext(chunks, None)
            with _Client(request, response, slow) as client:
                try:
                    await response.prepare(request)
                    await client.write(self._ending(*await self._pieces(first, chunks, client)))
                except asyncio.CancelledError:
                    if not closes():
                        raise
                    await client.write(self._shape.broken(refusal_of(NotNowError(f"the answer ended early: {CLOSES}"))))
                await client.end()
            async for _ in chunks:  # what is learned from the answer does not hold up the client
                pass
        return response

    async def _pieces(
        self, first: Chunk | None, chunks: AsyncGenerator[Chunk, None], client: _Client
    ) -> tuple[Chunk | None, SynapticError | None]:
        """Everything from `first` on, but for what comes last: the end, or why there is none."""
        if first is None or first.finish_reason:
            return first, None
        await client.write(self._shape.piece(first))
        try:
            async for chunk in chunks:
                if chunk.finish_reason:
                    return chunk, None
                await client.write(self._shape.piece(chunk))
        except SynapticError as error:
            return None, error
        return None, None

    def _ending(self, last: Chunk | None, error: SynapticError | None) -> bytes:
        self._over()
        if last:
            return self._shape.piece(last) + self._shape.end(self._end(last))
        error = error or self._reply.outcome().error or EngineError("the answer broke off")
        return self._shape.broken(refusal_of(error, self._home))

    def _end(self, last: Chunk) -> End:
        usage, timings = self._reply.measured()
        ttft = timings.ttft_ms / 1000 if timings and timings.ttft_ms is not None else None
        rate = timings.tokens_per_second if timings else None
        writing = usage.completion_tokens / rate if usage and rate else None
        return End(last.finish_reason or "stop", usage, time.monotonic() - self._began, self._loaded, ttft, writing)


class _Client:
    """It is cut when it takes nothing for `slow` seconds. It is looked at now and then: a deadline for each write costs more."""

    def __init__(self, request: web.Request, response: web.StreamResponse, slow: float) -> None:
        self._request = request
        self._response = response
        self._slow = slow
        self._since: float | None = None  # something waits to be taken
        self._next: asyncio.TimerHandle | None = None

    def __enter__(self) -> _Client:
        self._look()
        return self

    def __exit__(self, *error: object) -> None:
        if self._next:
            self._next.cancel()

    async def write(self, data: bytes) -> None:
        if data:
            self._since = time.monotonic()
            await self._response.write(data)
            self._since = None

    async def end(self) -> None:
        self._since = time.monotonic()
        await self._response.write_eof()

    def _look(self) -> None:
        if self._since is not None and time.monotonic() - self._since > self._slow:
            if self._request.transport:
                self._request.transport.abort()
            return
        self._next = asyncio.get_running_loop().call_later(self._slow / 4, self._look)
