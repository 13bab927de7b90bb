"""
One look at a server of models: which kind it is, and what it offers now.

    Ollama      /api/version once, then /api/tags and /api/ps
    OpenAI      /v1/models

Bounded in bytes and time, without redirects, proxies and cookies; never raises for what a peer does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import Mapping

import aiohttp

from synaptic.cluster.backend import Kind, State
from synaptic.cluster.connection import why
from synaptic.cluster.http import COMPATIBLE, Answer, describe, parsed, quiet_socket, software_of, text_of
from synaptic.cluster.offers import loaded_at, of_ollama, of_openai
from synaptic.models.model import Offer
from synaptic.server_url import is_link_local

MOST_BYTES = 4 * 1024 * 1024  # of one reply: a thousand models take a quarter
OLLAMA_NAME = "Ollama"


@dataclasses.dataclass(frozen=True)
class Heard:
    kind: Kind
    software: str
    version: str
    offers: tuple[Offer, ...]
    latency_ms: float
    memory: int | None = None  # bytes
    on_gpu: int = 0  # bytes


@dataclasses.dataclass(frozen=True)
class Unheard:
    """`detail` is what it did, or what it is. One that was silent may only be busy."""

    state: State
    detail: str
    was_silent: bool = False


async def look(url: str, likely: Kind, *, key: str | None, within: float) -> Heard | Unheard:
    """`likely` is asked for first; what lives there may be of the other kind."""
    connector = aiohttp.TCPConnector(force_close=True, socket_factory=_socket)
    headers = {"Connection": "close"} | ({"Authorization": f"Bearer {key}"} if key else {})
    async with aiohttp.ClientSession(connector=connector, headers=headers, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as http:
        try:
            async with asyncio.timeout(within):
                return await _look(http, url, likely)
        except TimeoutError:
            return Unheard(State.UNREACHABLE, f"did not answer in {within:g} s", was_silent=True)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError):
            return Unheard(State.INCOMPATIBLE, "has no certificate that this machine trusts")
        except aiohttp.ClientConnectorError as error:
            return Unheard(State.UNREACHABLE, why(error.os_error))
        except aiohttp.ClientOSError:
            return Unheard(State.UNREACHABLE, "broke the connection")
        except aiohttp.ServerDisconnectedError:
            return Unheard(State.UNREACHABLE, "closed the connection without an answer")
        except (aiohttp.ClientError, ValueError):  # ValueError: aiohttp's own checks of headers
            return Unheard(State.INCOMPATIBLE, "does not speak HTTP")


async def _look(http: aiohttp.ClientSession, url: str, likely: Kind) -> Heard | Unheard:
    asked = await _openai(http, url) if likely is Kind.OPENAI else None
    if isinstance(asked, Heard) and asked.software != COMPATIBLE:  # Ollama answers /v1/models too, with owners of its own
        return asked
    ollama = await _ollama(http, url)
    return ollama if isinstance(ollama, Heard) else asked or await _openai(http, url)


async def _ollama(http: aiohttp.ClientSession, url: str) -> Heard | Unheard:
    began = time.perf_counter()
    version = await _get(http, url, "/api/version")
    latency_ms = (time.perf_counter() - began) * 1000
    number = text_of(version.body, "version")
    if not number or version.status != 200:
        return Unheard(_state(version), describe(version))
    tags, ps = await asyncio.gather(_get(http, url, "/api/tags"), _get(http, url, "/api/ps"))
    if not _has_list(tags.body, "models"):
        return Unheard(_state(tags), describe(tags))
    loaded = loaded_at(ps.body)
    return Heard(Kind.OLLAMA, OLLAMA_NAME, number, of_ollama(tags.body, loaded, url), latency_ms, loaded.bytes, loaded.on_gpu)


async def _openai(http: aiohttp.ClientSession, url: str) -> Heard | Unheard:
    began = time.perf_counter()
    models = await _get(http, url, "/v1/models")
    latency_ms = (time.perf_counter() - began) * 1000
    if models.status != 200 or not _has_list(models.body, "data"):
        return Unheard(_state(models), describe(models))
    software = software_of(models)
    return Heard(Kind.OPENAI, software, "", of_openai(models.body, software, url), latency_ms)


async def _get(http: aiohttp.ClientSession, url: str, path: str) -> Answer:
    async with http.get(url + path, allow_redirects=False) as response:
        body = bytearray()
        while len(body) <= MOST_BYTES and (piece := await response.content.read(64 * 1024)):
            body += piece
        document = parsed(bytes(body)) if len(body) <= MOST_BYTES else None
        return Answer(response.status, response.headers.get("Server", ""), document)


def _has_list(body: object, key: str) -> bool:
    """Also when it is empty: a server that has no model yet."""
    value = body.get(key) if isinstance(body, Mapping) else None
    return isinstance(value, list) and all(isinstance(each, Mapping) for each in value)


def _state(answer: Answer) -> State:
    return State.BUSY if answer.status in (429, 503) else State.INCOMPATIBLE


def _socket(info: tuple[int, int, int, str, tuple[str, int]]) -> socket.socket:
    """A name may lead where an address would be refused."""
    if is_link_local(str(info[4][0])):
        raise OSError("its name leads to an address of the link itself")
    return quiet_socket(info)
