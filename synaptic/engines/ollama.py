"""
A client of Ollama's own chat API: /api/chat, one JSON object per line.

    {"message": {"role": "assistant", "content": "A", "thinking": "…", "tool_calls": […]}, "done": false}
    {"message": {…}, "done": true, "done_reason": "stop", "prompt_eval_count": 35, "eval_count": 6, "eval_duration": 1049000}
    {"error": "…"}          also after a 200

Durations are in nanoseconds. Without `"done": true` the answer is not whole, however the stream ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, cast

from synaptic.engines.chunks import count_of, object_of, positive, since, text_of
from synaptic.engines.engine import Chunk, Message, Request, StalledError, Timings, Usage
from synaptic.engines.refusal import broken
from synaptic.errors import EngineError, RefusedError
from synaptic.results import Json
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from ollama import AsyncClient, ResponseError

CONNECT_WITHIN = 5.0  # seconds
STEP = 1.0  # seconds
HEALTH = "try: nodes health"
Line = dict[str, object]


class Ollama:
    """
    `model` is what the server calls it. A stream without progress for `stall_seconds` is given up; the first token may
    take `first_token_seconds`, because the model is loaded and the prompt is read before it.
    """

    def __init__(self, url: str, *, model: str, stall_seconds: float, first_token_seconds: float = 600.0, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._model = model
        self._key = key
        self._stall_seconds = stall_seconds
        self._first_token_seconds = first_token_seconds

    async def generate(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """The answer as it comes; the last chunk carries finish_reason, usage and timings. Raises EngineError."""
        answer, watch = _Answer(), _Watch()
        async with self._client() as client, contextlib.aclosing(self._lines(client, request)) as lines:
            while not answer.is_done:
                limit = self._stall_seconds if answer.tokens else self._first_token_seconds
                line = await self._next(lines, watch, limit)
                before = answer.tokens
                if chunk := answer.take(line):
                    yield chunk
                if answer.tokens != before:
                    watch.idle = 0.0
        yield answer.last()

    def _client(self) -> AsyncClient:
        import httpx
        from ollama import AsyncClient

        from synaptic.engines.ollama_http import Transport

        return AsyncClient(
            self.url,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=CONNECT_WITHIN),
            headers={"Authorization": f"Bearer {self._key}"} if self._key else None,
            trust_env=False,
            transport=Transport(self._key),
        )

    def _lines(self, client: AsyncClient, request: Request) -> AsyncGenerator[Line, None]:
        """Its own `chat` would drop what it does not know of tools, and read images from files that a string may name."""

        async def lines() -> AsyncGenerator[Line, None]:
            path = "/api/chat" if request.prompt is None else "/api/generate"
            asked = await client._request(dict, "POST", path, json=_payload(self._model, request), stream=True)
            async with contextlib.aclosing(cast("AsyncGenerator[Line, None]", asked)) as answered:
                async for line in answered:
                    yield line

        return lines()

    async def _next(self, lines: AsyncGenerator[Line, None], watch: _Watch, limit: float) -> Line:
        """The next line; raises EngineError where there is none."""
        import httpx
        from ollama import ResponseError

        try:
            line = await watch.wait(lines, limit)
        except TimeoutError:
            raise StalledError(f"no token from {self.url} for {limit:g} s", hint=HEALTH) from None
        except ResponseError as error:
            raise self._refusal(error) from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise EngineError(f"nothing answers at {self.url}", hint=HEALTH) from error
        except httpx.HTTPError as error:
            raise EngineError("the answer ended early: the connection broke", hint="try: retry") from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:  # what the client makes of lines that are no such object
            raise EngineError("the answer ended early: what the server sends is no JSON", hint="try: retry") from error
        if line is None:
            raise EngineError("the answer ended early: the server closed the stream", hint="try: retry")
        return line

    def _refusal(self, error: ResponseError) -> EngineError:
        status, said = error.status_code, _said(error.error)
        if status == -1:
            return broken(said)
        if status == 404:
            name = one_line(self._model, 80)
            return RefusedError(f"{self.url} has no model {name}{_because(said)}", hint=f"try: model pull {name}")
        if status in (401, 403):
            return EngineError(f"{self.url} does not accept our key{_because(said)}", hint=f"try: nodes add {self.url} --key-env NAME")
        if status in (429, 503):
            return EngineError(f"{self.url} is too busy{_because(said)}", hint="try again in a moment")
        if 300 <= status < 400:
            hint = "name the address it points to"
            return EngineError(f"{self.url} sends us elsewhere (HTTP {status}); redirects are not followed", hint=hint)
        kind = RefusedError if 400 <= status < 500 else EngineError
        return kind(f"{self.url} refused the request (HTTP {status}){_because(said)}")


class _Answer:
    """The lines, read and measured. Made when the request is sent."""

    def __init__(self) -> None:
        self.tokens = 0  # lines with text, reasoning or tool calls: what a watch takes for progress
        self.is_done = False
        self._began = time.monotonic()
        self._first_text: float | None = None
        self._end: Line = {}

    def take(self, line: Line) -> Chunk | None:
        message = object_of(line.get("message") or {"content": line.get("response")})
        text, reasoning = text_of(message.get("content")), text_of(message.get("thinking"))
        calls = cast("Json", message["tool_calls"]) if isinstance(message.get("tool_calls"), list) else None
        if line.get("done") is True:
            self.is_done, self._end = True, line
        if not (text or reasoning or calls):
            return None
        self.tokens += 1
        if text and self._first_text is None:
            self._first_text = time.monotonic()
        return Chunk(text=text, reasoning=reasoning, tool_calls=calls)

    def last(self) -> Chunk:
        count, nanoseconds = count_of(self._end.get("eval_count")), count_of(self._end.get("eval_duration"))
        speed = positive(count * 1e9 / nanoseconds) if count and count >= 2 and nanoseconds else None
        return Chunk(
            finish_reason=one_line(text_of(self._end.get("done_reason")), 40) or "stop",
            usage=Usage(count_of(self._end.get("prompt_eval_count")), self.tokens if count is None else count),
            timings=Timings(since(self._began, self._first_text), speed, since(self._began, time.monotonic())),
        )


class _Watch:
    """How long a stream has been idle, in seconds; time in which we did not run ourselves is not the server's."""

    def __init__(self) -> None:
        self.idle = 0.0

    async def wait(self, lines: AsyncGenerator[Line, None], limit: float) -> Line | None:
        """The next line; None at the end. Raises TimeoutError when the stream has been idle for `limit`."""
        task = asyncio.create_task(_line(lines))
        try:
            while not task.done():
                if (left := limit - self.idle) <= 0:
                    raise TimeoutError
                step, began = min(STEP, limit / 4, left), time.monotonic()
                await asyncio.wait([task], timeout=step)
                self.idle += min(step, time.monotonic() - began)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        return task.result()


async def _line(lines: AsyncGenerator[Line, None]) -> Line | None:
    return await anext(lines, None)


def _payload(model: str, request: Request) -> Mapping[str, Any]:
    asked: dict[str, Json] = {
        "temperature": request.temperature,
        "seed": request.seed,
        "num_predict": request.max_tokens,
        "num_ctx": request.context,
    }
    options = {name: value for name, value in asked.items() if value is not None} | dict(request.options)
    given = {"options": options, "format": request.format, "tools": request.tools, "keep_alive": request.keep_alive}
    words = {"messages": [_message(message) for message in request.messages]}
    return (
        {"model": model, "stream": True}
        | (words if request.prompt is None else {"prompt": request.prompt, "raw": True})
        | {name: value for name, value in given.items() if value}
        | ({} if request.think is None else {"think": request.think})
    )


def _message(message: Message) -> dict[str, object]:
    given = {"images": list(message.images), "tool_calls": message.tool_calls, "tool_name": message.tool_name}
    return {"role": message.role, "content": message.content} | {name: value for name, value in given.items() if value}


def _said(error: object) -> str:
    """Ollama wraps what its runner says: {"error": "{\\"error\\": {\\"message\\": …"}."""
    for _ in range(3):
        with contextlib.suppress(ValueError, RecursionError):
            error = json.loads(error) if isinstance(error, str) and error.startswith("{") else error
        error = error.get("error", error.get("message")) if isinstance(error, dict) else error
    return one_line(error) if isinstance(error, str) else ""


def _because(said: str) -> str:
    return f": {said}" if said else ""
