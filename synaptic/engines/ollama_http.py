"""
What the Ollama client reads, made bounded and plain. Imported with the client, not before.

The client takes lines apart as text, and so breaks them at characters that JSON may hold (U+0085, U+2028, U+2029), keeps
a line in memory however long it is, and sends OLLAMA_API_KEY to whoever it talks to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from synaptic.errors import EngineError

LONGEST_LINE = 1024 * 1024  # bytes
LONGEST_ERROR = 64 * 1024
_BREAKS = {b"\xc2\x85": b"\\u0085", b"\xe2\x80\xa8": b"\\u2028", b"\xe2\x80\xa9": b"\\u2029"}


class Transport(httpx.AsyncHTTPTransport):
    """`key` is sent, and nothing else that the environment holds."""

    def __init__(self, key: str | None) -> None:
        super().__init__(trust_env=False, limits=httpx.Limits(max_connections=1, max_keepalive_connections=0))
        self._key = key

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        if self._key is None:
            request.headers.pop("Authorization", None)
        response = await super().handle_async_request(request)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            await response.aclose()
            raise EngineError("the server compresses its answer unasked, which is not read here")
        assert isinstance(response.stream, httpx.AsyncByteStream)
        body = _Lines(response.stream) if response.status_code == 200 else _Start(response.stream)
        return httpx.Response(response.status_code, headers=response.headers, stream=body, extensions=response.extensions)


class _Lines(httpx.AsyncByteStream):
    """Whole lines, none of them empty, each in a form that the client leaves whole. Raises EngineError for one that is too long."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest: list[bytes] = []
        size = 0
        async for data in self._stream:
            *lines, last = data.split(b"\n")
            for line in lines:
                whole = b"".join([*rest, line])
                rest, size = [], 0
                if whole.strip():
                    yield _plain(_bounded(whole)) + b"\n"
            rest.append(last)
            size += len(last)
            if size > LONGEST_LINE:
                raise _too_long()
        if (whole := b"".join(rest)).strip():
            yield _plain(whole)

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Start(httpx.AsyncByteStream):
    """As much of an error as anyone would read."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = LONGEST_ERROR
        async for data in self._stream:
            yield data[:left]
            left -= len(data)
            if left <= 0:
                return

    async def aclose(self) -> None:
        await self._stream.aclose()


def _bounded(line: bytes) -> bytes:
    if len(line) > LONGEST_LINE:
        raise _too_long()
    return line


def _plain(line: bytes) -> bytes:
    for character, escape in _BREAKS.items():
        line = line.replace(character, escape)
    return line


def _too_long() -> EngineError:
    return EngineError("the server sent a line of more than 1 MiB")
