"""
One look at a server of models: which kind it is, and what it offers now.

    Ollama      /api/version once, then /api/tags and /api/ps
    OpenAI      /v1/models; of a vLLM also /version, /health and /metrics

Bounded in bytes and time, without redirects, proxies and cookies; never raises for what a peer does.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterable, Mapping, Sequence

import aiohttp

from synaptic.cluster.backend import Kind, State
from synaptic.cluster.connection import why
from synaptic.cluster.http import Answer, describe, parsed, quiet_socket, software_of, text_of
from synaptic.cluster.offers import loaded_at, of_ollama, of_openai
from synaptic.cluster.server_load import ServerLoad
from synaptic.cluster.software import COMPATIBLE, OLLAMA_NAME, VLLM
from synaptic.cluster.vllm_metrics import load_of
from synaptic.models.model import Offer
from synaptic.server_url import is_link_local

MOST_BYTES = 4 * 1024 * 1024  # of one reply: a thousand models take a quarter


@dataclasses.dataclass(frozen=True)
class Heard:
    kind: Kind
    software: str
    version: str
    offers: tuple[Offer, ...]
    latency_ms: float
    memory: int | None = None  # bytes
    on_gpu: int = 0  # bytes
    load: ServerLoad | None = None


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
                return await _look(http, url, likely, within / 2)
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


async def _look(http: aiohttp.ClientSession, url: str, likely: Kind, metrics_within: float) -> Heard | Unheard:
    asked = await _openai(http, url, metrics_within) if likely is Kind.OPENAI else None
    if isinstance(asked, Heard) and asked.software != COMPATIBLE:  # Ollama answers /v1/models too, with owners of its own
        return asked
    ollama = await _ollama(http, url)
    return ollama if isinstance(ollama, Heard) else asked or await _openai(http, url, metrics_within)


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


async def _openai(http: aiohttp.ClientSession, url: str, metrics_within: float) -> Heard | Unheard:
    began = time.perf_counter()
    models = await _get(http, url, "/v1/models")
    latency_ms = (time.perf_counter() - began) * 1000
    if models.status != 200 or not _has_list(models.body, "data"):
        return Unheard(_state(models), describe(models))
    software = software_of(models)
    plain = Heard(Kind.OPENAI, software, "", of_openai(models.body, software, url), latency_ms)
    return await _vllm(http, url, plain, metrics_within) if software == VLLM else plain


async def _vllm(http: aiohttp.ClientSession, url: str, plain: Heard, metrics_within: float) -> Heard | Unheard:
    """Its models are listed also when the engine behind it is dead; a proxy before it may repeat its name, and nothing else."""
    health, version, load = await asyncio.gather(_get(http, url, "/health"), _get(http, url, "/version"), _load(http, url, metrics_within))
    number = text_of(version.body, "version") or ""
    if not number and load is None:
        return dataclasses.replace(plain, software=COMPATIBLE, offers=tuple(_unloaded(plain.offers)))
    if health.status == 503:
        return Unheard(State.UNREACHABLE, f"{VLLM} {number} says that its engine is dead: it has to be started again")
    return dataclasses.replace(plain, version=number, load=load)


def _unloaded(offers: Sequence[Offer]) -> Iterable[Offer]:
    return (dataclasses.replace(offer, is_loaded=False) for offer in offers)


async def _load(http: aiohttp.ClientSession, url: str, within: float) -> ServerLoad | None:
    """None where it does not tell in time: a server that is only busy is still there."""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(within):
            status, _, body = await _fetch(http, url, "/metrics")
            return await asyncio.to_thread(load_of, body.decode(errors="replace")) if status == 200 else None
    return None


async def _get(http: aiohttp.ClientSession, url: str, path: str) -> Answer:
    status, server, body = await _fetch(http, url, path)
    return Answer(status, server, parsed(body) if body else None)


async def _fetch(http: aiohttp.ClientSession, url: str, path: str) -> tuple[int, str, bytes]:
    """Status, server, body; of one that is too long, none."""
    async with http.get(url + path, allow_redirects=False) as response:
        body = bytearray()
        while len(body) <= MOST_BYTES and (piece := await response.content.read(64 * 1024)):
            body += piece
        return response.status, response.headers.get("Server", ""), bytes(body) if len(body) <= MOST_BYTES else b""


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
