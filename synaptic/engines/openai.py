"""A client of the OpenAI chat API as llama-server, vLLM and others serve it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

import aiohttp

from synaptic.engines.chunks import Answer, Completion, object_of
from synaptic.engines.chunks import Json as Object
from synaptic.engines.dialect import payload
from synaptic.engines.engine import Chunk, Request, StalledError, Timings, Usage
from synaptic.engines.refusal import RESTART, refusal
from synaptic.engines.watch import STEP, Watch
from synaptic.errors import EngineError
from synaptic.results import plural
from synaptic.server_url import without_path

CONNECT_WITHIN = 5.0  # seconds
REPLY_WITHIN = 5.0  # seconds for everything but an answer
END_WITHIN = 2.0  # seconds for usage and [DONE] after the answer is complete
READ_AHEAD = 64 * 1024  # bytes that may wait for us; then the server has to
LONGEST_REPLY = 1024 * 1024  # bytes
SHORT = 5  # tokens; the speed of fewer says nothing
SHORTEST_STALL, LONGEST_STALL = 5.0, 60.0  # seconds
MANY_TOKENS = 40  # in the time of so many one came always, or nobody writes any more
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN)  # ours are around the calls


class OpenAI:
    """
    `model` is what the server calls it. A stream without a token for `stall_seconds` (None: for many times as long as
    one took so far) is given up; the first token may take `first_token_seconds`, because a long prompt is read before it.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        key: str | None,
        stall_seconds: float | None,
        first_token_seconds: float = 600.0,
        session: aiohttp.ClientSession | None = None,
        remedy: str = RESTART,
    ) -> None:
        """`remedy` is the hint where the server is to blame."""
        self.url = without_path(url)
        self._model = model
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._stall_seconds = stall_seconds
        self._first_token_seconds = first_token_seconds
        self._session = session
        self._remedy = remedy

    def generate(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """The answer as it comes; the last chunk carries finish_reason, usage and timings. Raises EngineError."""
        path, answer = ("/v1/chat/completions", Answer()) if request.prompt is None else ("/v1/completions", Completion())
        return self._stream(path, self._payload(request), answer)

    async def _stream(self, path: str, payload: Mapping[str, object], answer: Answer) -> AsyncGenerator[Chunk, None]:
        async with self._http() as http:
            response = await self._post(http, path, payload)
            try:
                with Watch(response.content, lambda: self._limit(answer), self._step) as watch:
                    while not answer.is_over:
                        before, was_finished = answer.tokens, answer.finish_reason
                        for chunk in answer.take(await self._more(answer, watch)):
                            yield chunk
                        if before != answer.tokens or was_finished != answer.finish_reason:
                            watch.idle = 0.0
            finally:
                response.close()  # not released: a closed connection is how the server learns that nobody listens
        yield answer.last()

    async def is_ready(self) -> bool:
        """Whether llama-server has loaded its model, or the engine of a vLLM lives. It says nothing about workers."""
        with contextlib.suppress(EngineError):
            status, _ = await self._get("/health")
            return status == 200
        return False

    async def models(self) -> tuple[str, ...]:
        """The names it serves. That takes our key, so an answer proves that the port is ours. Raises EngineError."""
        status, body = await self._get("/v1/models")
        if status != 200:
            raise self._refusal(status, body)
        return _names(body)

    async def _ask(self, path: str, asked: Mapping[str, object]) -> Object:
        """A short question and its answer, both JSON."""
        async with self._http() as http:
            response = await self._post(http, path, asked)
            try:
                body = await response.content.read(LONGEST_REPLY * 16)  # a long prompt as tokens takes its place
                while len(body) <= LONGEST_REPLY * 16 and (more := await response.content.readany()):
                    body += more
                return object_of(json.loads(body))
            except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError, RecursionError) as error:
                raise EngineError(f"{self.url} broke off", hint="try: retry") from error
            finally:
                response.close()

    async def _get(self, path: str) -> tuple[int, bytes]:
        try:
            async with (
                asyncio.timeout(REPLY_WITHIN),
                self._http() as http,
                http.get(self.url + path, headers=self._headers, allow_redirects=False, timeout=_NO_TIMEOUT) as response,
            ):
                return response.status, await _body(response)
        except (aiohttp.ClientError, OSError) as error:
            raise self._nobody() from error

    def _payload(self, request: Request) -> dict[str, object]:
        return payload(self._model, request)

    async def _post(self, http: aiohttp.ClientSession, path: str, payload: Mapping[str, object]) -> aiohttp.ClientResponse:
        """The response to read the answer from. It belongs to the caller, who closes it."""
        post = http.post(
            f"{self.url}{path}",
            json=payload,
            headers=self._headers,
            allow_redirects=False,
            timeout=_NO_TIMEOUT,
            read_bufsize=READ_AHEAD,
        )
        try:
            async with asyncio.timeout(self._first_token_seconds):
                response = await post
        except (aiohttp.ClientError, OSError) as error:
            raise self._stalled(self._first_token_seconds) if type(error) is TimeoutError else self._nobody() from error
        if response.status == 200:
            return response
        try:
            raise self._refusal(response.status, await _body(response))
        finally:
            response.close()

    async def _more(self, answer: Answer, watch: Watch) -> bytes:
        """The next bytes; none at the end. Whatever goes wrong after the answer is complete is only its end."""
        try:
            return await watch.read()
        except (aiohttp.ClientError, OSError) as error:
            if answer.finish_reason:
                return b""
            raise self._stalled(self._limit(answer)) if type(error) is TimeoutError else _cut() from error

    def _limit(self, answer: Answer) -> float:
        """Seconds without a token after which this answer is given up."""
        if answer.finish_reason:
            return END_WITHIN
        return (self._stall_seconds or stall_limit(answer)) if answer.tokens else self._first_token_seconds

    @property
    def _step(self) -> float:
        return min(STEP, (self._stall_seconds or SHORTEST_STALL) / 4, self._first_token_seconds / 4)

    @contextlib.asynccontextmanager
    async def _http(self) -> AsyncIterator[aiohttp.ClientSession]:
        if self._session:
            yield self._session
            return
        async with aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield session

    def _refusal(self, status: int, body: bytes) -> EngineError:
        return refusal(self.url, self._model, status, body, self._remedy, has_key=bool(self._headers))

    def _nobody(self) -> EngineError:
        return EngineError(f"nothing answers at {self.url}", hint=self._remedy)

    def _stalled(self, seconds: float) -> StalledError:
        who = "a worker" if self._remedy == RESTART else "the server"
        return StalledError(f"no token for {seconds:g} s: {who} may be frozen or overloaded", hint=self._remedy)


def stall_limit(answer: Answer) -> float:
    """Seconds without a token after which a stream is given up, by how long a token took so far."""
    gap = answer.seconds_per_token
    return LONGEST_STALL if gap is None else min(max(MANY_TOKENS * gap, SHORTEST_STALL), LONGEST_STALL)


def tail(usage: Usage | None, timings: Timings | None) -> str:
    """One line about an answer: `182 tokens · 14.2 tok/s · 0.9 s to first`, less what is not known."""
    parts = [plural(usage.completion_tokens, "token")] if usage else []
    if timings and not (usage and usage.completion_tokens < SHORT):
        if timings.tokens_per_second is not None:
            parts.append(f"{timings.tokens_per_second:.1f} tok/s")
        if timings.ttft_ms is not None:
            parts.append(f"{_duration(timings.ttft_ms)} to first")
    return " · ".join(parts)


def _duration(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 100 else f"{milliseconds / 1000:.1f} s"


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """As much of a short reply as comes in time."""
    body = bytearray()
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(REPLY_WITHIN):
            while len(body) < LONGEST_REPLY and (piece := await response.content.readany()):
                body += piece
    return bytes(body)


def _names(body: bytes) -> tuple[str, ...]:
    try:
        document = json.loads(body)
        return tuple(str(entry["id"]) for entry in document["data"])
    except (ValueError, RecursionError, TypeError, KeyError):
        return ()


def _cut() -> EngineError:
    return EngineError("the answer ended early: the connection broke", hint="try: retry")
