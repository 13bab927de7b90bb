"""
Which HTTP server is it: Ollama, llama-server, vLLM, dllama-api, or something else.

    GET /api/version, /api/tags    Ollama, which also answers /v1/models in the manner of the others
    GET /v1/models                 told apart by `owned_by` and the Server header
    GET /version                   where that says vLLM, which has one

Two complete requests at most, one after the other, to what is no vLLM: dllama-api serves one at a time, and ends when a connection is
closed before it was asked anything. So ours does not exist for a server before its request does (see discovery/sweep.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping

import aiohttp

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.connection import why
from synaptic.cluster.handshake import Foreign
from synaptic.cluster.software import COMPATIBLE, DLLAMA_API, LLAMA_SERVER, OLLAMA_NAME, VLLM
from synaptic.endpoint import Endpoint
from synaptic.results import plural
from synaptic.terminal import one_line

WITHIN = 1.5  # seconds, all requests together
_MOST_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
_OWNERS = {"llamacpp": LLAMA_SERVER, "vllm": VLLM, "user": DLLAMA_API}


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    server: str
    body: object  # what the JSON says; None when it is none


async def identify(endpoint: Endpoint, *, within: float = WITHIN) -> Backend | Foreign:
    """Never raises for what a peer does."""
    race = 0.25 if sys.platform == "linux" else None  # elsewhere the loser's server would see a connection without a request
    connector = aiohttp.TCPConnector(force_close=True, happy_eyeballs_delay=race, socket_factory=quiet_socket)
    async with aiohttp.ClientSession(connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as http:
        try:
            async with asyncio.timeout(within):
                return await _identify(http, endpoint)
        except TimeoutError:
            return Foreign(endpoint, "silent", f"did not answer in {within:g} s")
        except aiohttp.ClientConnectorError as error:
            return Foreign(endpoint, "closed", why(error.os_error))
        except aiohttp.ServerDisconnectedError:
            return Foreign(endpoint, "closed", "closed the connection without an answer")
        except aiohttp.ClientOSError as error:
            return Foreign(endpoint, "reset", f"ended the connection: {_why(error)}")
        except (aiohttp.ClientError, ValueError):  # ValueError: aiohttp's own checks of headers
            return Foreign(endpoint, "garbage", "does not speak HTTP")


async def _identify(http: aiohttp.ClientSession, endpoint: Endpoint) -> Backend | Foreign:
    began = time.perf_counter()
    version = await _get(http, endpoint, "/api/version")
    latency_ms = round((time.perf_counter() - began) * 1000, 2)
    if (number := text_of(version.body, "version")) and version.status == 200:
        tags = await _get(http, endpoint, "/api/tags")
        names = names_of(tags.body, "models", "name")
        if names is not None:
            return Backend(endpoint, Kind.OLLAMA, State.IDLE, number, (), latency_ms, detail=_offers(f"{OLLAMA_NAME} {number}", names))
    models = await _get(http, endpoint, "/v1/models")
    names = names_of(models.body, "data", "id")
    if names is None or models.status != 200:
        return Foreign(endpoint, "http", describe(models))
    software, number = software_of(models), None
    if software == VLLM:
        answer = await _get(http, endpoint, "/version")
        number = text_of(answer.body, "version") if answer.status == 200 else None
        software = f"{VLLM} {number}" if number else COMPATIBLE  # a proxy before it repeats its name, and nothing else
    return Backend(endpoint, Kind.OPENAI, State.IDLE, number, (), latency_ms, detail=_offers(software, names))


async def _get(http: aiohttp.ClientSession, endpoint: Endpoint, path: str) -> Answer:
    bare = Endpoint(endpoint.host.partition("%")[0], endpoint.port)  # which of our interfaces leads there is not its affair
    headers = {"Connection": "close", "Host": str(bare)}
    async with http.get(f"http://{endpoint}{path}", allow_redirects=False, headers=headers) as response:
        body = b""
        while len(body) <= _MOST_BYTES and (chunk := await response.content.read(_MOST_BYTES + 1 - len(body))):
            body += chunk
        return Answer(response.status, response.headers.get("Server", ""), parsed(body) if len(body) <= _MOST_BYTES else None)


def parsed(body: bytes) -> object:
    """None: it is no JSON."""
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed


def text_of(body: object, key: str) -> str | None:
    value = body.get(key) if isinstance(body, Mapping) else None
    return one_line(value, 40) or None if isinstance(value, str) else None


def names_of(body: object, key: str, name: str) -> list[str] | None:
    """None: not the answer of such a server."""
    items = body.get(key) if isinstance(body, Mapping) else None
    if not isinstance(items, list):
        return None
    names = [text_of(item, name) for item in items]
    return [each for each in names if each] if all(names) else None


def software_of(models: Answer) -> str:
    """By what /v1/models says; `models.body` has a list of them under `data`."""
    assert isinstance(models.body, Mapping)
    owner = text_of(models.body["data"][0], "owned_by") if models.body["data"] else None
    if owner == "user" and models.server:  # dllama-api names no server
        return COMPATIBLE
    return _OWNERS.get(owner or "") or (LLAMA_SERVER if models.server == "llama.cpp" else COMPATIBLE)


def _offers(software: str, names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{software} · {plural(len(names), 'model')}" + (f" ({shown})" if names else "")


def _why(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else "no reason given"


def describe(answer: Answer) -> str:
    """One that offers no models, in a few words for the user."""
    if answer.server == "llama.cpp" and answer.status == 503:
        return "llama-server, loading its model"
    server = f" ({one_line(answer.server, 60)})" if answer.server else ""
    needs_key = ", wants a key" if answer.status in (401, 403) else ""
    return f"HTTP server{server}{needs_key}"


def quiet_socket(info: tuple[int, int, int, str, object]) -> socket.socket:
    sock = socket.socket(info[0], info[1], info[2])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)  # whoever cancels us before the request leaves no trace
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
    return sock
