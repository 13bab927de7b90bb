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
            with _Reader(request, slow) as reader:
                try:
                    reader.takes()
                    await response.prepare(request)
                    async with contextlib.aclosing(self._written(first, chunks)) as written:
                        async for data in written:
                            reader.takes()
                            await response.write(data)
                            reader.waits()
                except asyncio.CancelledError:
                    if not closes():
                        raise
                    refusal = refusal_of(NotNowError(f"the answer ended early: {CLOSES}"))
                    reader.takes()
                    await response.write(self._shape.broken(refusal))
                await response.write_eof()
            async for _ in chunks:  # what is learned from the answer does not hold up the client
                pass
        return response

    async def _written(self, chunk: Chunk | None, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[bytes, None]:
        """The answer from `chunk` on, up to its end or to why it has none."""
        error: SynapticError | None = None
        try:
            while chunk and not chunk.finish_reason:
                if piece := self._shape.piece(chunk):
                    yield piece
                chunk = await anext(chunks, None)
        except SynapticError as broken:
            chunk, error = None, broken
        self._over()
        if chunk:
            yield self._shape.piece(chunk) + self._shape.end(self._end(chunk))
        else:
            error = error or self._reply.outcome().error or EngineError("the answer broke off")
            yield self._shape.broken(refusal_of(error, self._home))

    def _end(self, last: Chunk) -> End:
        usage, timings = self._reply.measured()
        ttft = timings.ttft_ms / 1000 if timings and timings.ttft_ms is not None else None
        rate = timings.tokens_per_second if timings else None
        writing = usage.completion_tokens / rate if usage and rate else None
        return End(last.finish_reason or "stop", usage, time.monotonic() - self._began, self._loaded, ttft, writing)


class _Reader:
    """The client, cut when it takes nothing for `slow` seconds. It is looked at now and then: a deadline for each write costs more."""

    def __init__(self, request: web.Request, slow: float) -> None:
        self._request = request
        self._slow = slow
        self._since: float | None = None  # something waits to be taken
        self._next: asyncio.TimerHandle | None = None

    def __enter__(self) -> _Reader:
        self._look()
        return self

    def __exit__(self, *error: object) -> None:
        if self._next:
            self._next.cancel()

    def takes(self) -> None:
        self._since = time.monotonic()

    def waits(self) -> None:
        self._since = None

    def _look(self) -> None:
        if self._since is not None and time.monotonic() - self._since > self._slow:
            if self._request.transport:
                self._request.transport.abort()
            return
        self._next = asyncio.get_running_loop().call_later(self._slow / 4, self._look)
