"""
A Consul agent: who is healthy, who comes and goes, and being listed there ourselves.

It is asked over HTTP without redirects or proxies; the token travels in one header and nowhere else. Nobody it names
is believed: see hints.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import quote

import aiohttp

from synaptic.cluster.backend import Kind
from synaptic.discovery.consul_answers import MOST_SERVICES, Access, Listing, Service, next_index, parse, pause
from synaptic.discovery.consul_trust import objection, trust
from synaptic.discovery.hint import Hint, Hints, is_public
from synaptic.discovery.reach import is_near
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, UsageError
from synaptic.results import plural

SERVICES = {
    "llama-rpc": Kind.RPC,
    "dllama": Kind.DLLAMA,
    "dllama-worker": Kind.DLLAMA,
    "llama-head": Kind.OPENAI,
    "vllm-node": Kind.OPENAI,
}
WITHIN = 2.0  # seconds for one answer
WAIT = 30.0  # seconds a query blocks at most
_GAP = 0.2  # seconds between two queries of a watch at least, however often things change
_MOST_BYTES = 1 << 20


async def ask_consul(variables: Mapping[str, str], kinds: Collection[Kind]) -> Hints:
    """What the agent of CONSUL_HTTP_ADDR knows to be healthy. Never raises for what it does; a note says so."""
    try:
        access = Access.of(variables)
        if access is None:
            return Hints()
        async with Consul(access) as consul:
            names = [name for name, kind in SERVICES.items() if kind in kinds]
            listings = await asyncio.gather(*(consul.healthy(name) for name in names), return_exceptions=True)
    except (UsageError, BackendError) as error:
        return Hints(notes=(_sentence(error),))
    gathered = Hints()
    for name, listing in zip(names, listings, strict=True):
        if isinstance(listing, BaseException):
            if not isinstance(listing, BackendError):
                raise listing
            gathered += Hints(notes=(_sentence(listing),))
        else:
            gathered += _hints(name, listing, access)
    if not gathered.found and not gathered.notes and not access.token:  # with ACLs on, it hides what an unknown may not see
        return Hints(notes=(f"consul at {access.url} lists none of {', '.join(names)}; it may want a token in CONSUL_HTTP_TOKEN",))
    return gathered


def _hints(name: str, listing: Listing, access: Access) -> Hints:
    told = [Hint(endpoint, SERVICES[name], "consul", node) for endpoint, node in zip(listing.endpoints, listing.nodes, strict=True)]
    near, far = [hint for hint in told if is_near(hint.endpoint)], [hint for hint in told if is_public(hint.endpoint)]
    where = f"consul at {access.url}: left out {{}} of {name}, "
    notes = [where.format(plural(listing.left_out, "instance")) + f"without an address and port or beyond {MOST_SERVICES}"]
    notes = notes if listing.left_out else []
    if useless := len(told) - len(near) - len(far):
        notes.append(where.format(plural(useless, "instance")) + "at no IPv4 address that could be used")
    return Hints(tuple(near), tuple(notes), tuple(far))


def _sentence(error: UsageError | BackendError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)


@dataclasses.dataclass(frozen=True)
class _Answer:
    index: str | None
    body: bytes


class Consul:
    """One agent, for the length of an `async with`. `rest` waits so many seconds before the next try."""

    def __init__(self, access: Access, *, within: float = WITHIN, rest: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._access = access
        self._within = within
        self._rest = rest
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=await asyncio.to_thread(trust, self._access))
        headers = {"X-Consul-Token": self._access.token} if self._access.token else {}
        self._http = aiohttp.ClientSession(
            connector=connector,
            headers=headers | {"Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._http:
            await self._http.close()

    async def healthy(self, service: str) -> Listing:
        """Raises BackendError when the agent does not say."""
        return self._parsed(await self._ask("GET", _health(service)))

    async def watch(
        self, service: str, *, wait: float = WAIT, failed: Callable[[BackendError], None] = lambda error: None
    ) -> AsyncGenerator[tuple[Endpoint, ...], None]:
        """Who is healthy now, and again whenever that changes. An agent that fails is tried again, after at most a minute."""
        index, failures = 0, 0
        told: tuple[Endpoint, ...] | None = None
        while True:
            began = time.monotonic()
            blocking = f"&index={index}&wait={wait:g}s" if index else ""
            try:
                # the agent spreads its answers by a sixteenth of the wait
                answer = await self._ask("GET", _health(service) + blocking, within=self._within + (wait * 17 / 16 if index else 0))
                now = self._parsed(answer).endpoints
            except BackendError as error:
                failed(error)
                index, failures = 0, failures + 1
                await self._rest(pause(failures, random.random()))
                continue
            failures = 0
            index = next_index(answer.index, index)
            if now != told:
                told = now
                yield now
            # an index of 0 blocks nothing: then, as after a failure, a second or so passes
            await self._rest(max(0.0, (_GAP if index else 1.0) - (time.monotonic() - began)))

    async def register(self, service: Service) -> None:
        """List it, or tell its new Meta; `keep_alive` must follow. Raises BackendError, as all of these do."""
        await self._ask("PUT", "/v1/agent/service/register?replace-existing-checks=true", service.document())

    async def keep_alive(self, service: Service) -> None:
        await self._ask("PUT", f"/v1/agent/check/pass/{quote(service.check_id, safe='')}")

    async def deregister(self, service_id: str) -> None:
        await self._ask("PUT", f"/v1/agent/service/deregister/{quote(service_id, safe='')}")

    async def _ask(self, method: str, path: str, document: object = None, *, within: float | None = None) -> _Answer:
        assert self._http
        seconds = self._within if within is None else within
        try:
            async with asyncio.timeout(seconds):
                async with self._http.request(method, self._access.url + path, json=document, allow_redirects=False) as response:
                    body = await _bounded(response)
        except TimeoutError as error:
            raise self._error(f"did not answer in {seconds:g} s") from error
        except (aiohttp.ClientError, ValueError) as error:  # ValueError: aiohttp's own checks of headers
            raise self._failed(error) from error
        self._judge(response.status, body)
        return _Answer(response.headers.get("X-Consul-Index"), body)

    def _failed(self, error: aiohttp.ClientError | ValueError) -> BackendError:
        if isinstance(error, aiohttp.ClientError) and (wrong := objection(error, self._access)):
            return self._error(*wrong)
        if isinstance(error, aiohttp.ClientConnectorError):
            return self._error(f"takes no connection: {_why(error)}", hint="is it running? CONSUL_HTTP_ADDR says where")
        return self._error("does not speak HTTP as an agent does")

    def _judge(self, status: int, body: bytes) -> None:
        if len(body) > _MOST_BYTES:
            raise self._error("answered with more than 1 MiB")
        if status in (401, 403):
            what = "refuses the token of CONSUL_HTTP_TOKEN" if self._access.token else "wants a token"
            raise self._error(what, hint=None if self._access.token else "set CONSUL_HTTP_TOKEN")
        if 300 <= status < 400:
            raise self._error(f"answered with a redirect ({status}), which is not followed")
        if status != 200:
            said = self._access.hide(body[:400].decode(errors="replace"))
            raise self._error(f"answered {status}" + (f": {said}" if said else ""))

    def _parsed(self, answer: _Answer) -> Listing:
        try:
            return parse(answer.body)
        except BackendError as error:
            raise self._error(str(error)) from error

    def _error(self, what: str, hint: str | None = None) -> BackendError:
        return BackendError(f"consul at {self._access.url} {what}", hint=hint)


def _health(service: str) -> str:
    return f"/v1/health/service/{quote(service, safe='')}?passing=1"


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while len(body) <= _MOST_BYTES and (chunk := await response.content.read(_MOST_BYTES + 1 - len(body))):
        body += chunk
    return bytes(body)


def _why(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else "no reason given"
