"""Ask an Ollama server to fetch a model: POST /api/pull, a line of JSON for each step (docs/api.md of Ollama)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncGenerator

import aiohttp
from aiohttp.http_exceptions import LineTooLong

from synaptic.errors import EngineError
from synaptic.terminal import one_line

CONNECT_WITHIN = 5.0  # seconds
SILENT = 600.0  # seconds; it says nothing while it hashes what it fetched
LONGEST_LINE = 64 * 1024  # bytes


@dataclasses.dataclass(frozen=True)
class Pulling:
    """What the server does now, and how many bytes of the layer it fetches are there (None: it is no layer)."""

    status: str
    done: int | None = None
    total: int | None = None


async def pull(url: str, name: str, *, key: str | None = None) -> AsyncGenerator[Pulling, None]:
    """Ends when the server has the model. EngineError in the server's words, or when it falls silent. Closing it ends the pull there."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_WITHIN, sock_read=SILENT)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    is_there = False
    async with aiohttp.ClientSession(trust_env=False, timeout=timeout, headers=headers, read_bufsize=LONGEST_LINE) as http:
        try:
            async with http.post(f"{url}/api/pull", json={"model": name, "stream": True}, allow_redirects=False) as response:
                while line := await _line(url, response):
                    step = _step(url, name, line, response.status)
                    is_there = is_there or step.status == "success"
                    yield step
        except aiohttp.ClientConnectorError as error:
            raise EngineError(f"nothing answers at {url}", hint="try: nodes list") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineError(f"{url} broke off the pull of {one_line(name, 80)}", hint="repeat the command: it goes on") from error
    if not is_there:
        raise EngineError(f"{url} ended the pull of {one_line(name, 80)} without success", hint="repeat the command: it goes on")


async def _line(url: str, response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.content.readline()
    except LineTooLong as error:
        raise EngineError(f"{url} answers with more than a line of JSON: is it an Ollama server?") from error


def _step(url: str, name: str, line: bytes, status: int) -> Pulling:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict) and isinstance(cause := said.get("error"), str):
        raise EngineError(
            f"{url} cannot pull {one_line(name, 80)}: {one_line(cause, 300)}", hint="is the name right? see: ollama.com/library"
        )
    if status != 200 or not isinstance(said, dict) or not isinstance(text := said.get("status"), str):
        raise EngineError(f"{url} answers /api/pull with status {status}: is it an Ollama server?", hint="try: nodes list")
    return Pulling(one_line(text, 80), _count(said.get("completed")), _count(said.get("total")))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None
