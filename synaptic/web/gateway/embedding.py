"""
Embeddings, from a server that makes them: an Ollama node, or one of OpenAI's API such as `llama-server --embeddings`.

The coordinators make none: their servers are started to write answers.

    Ollama   POST /api/embed       {"model", "input": [text]} → {"embeddings": [[…]], "prompt_eval_count"}
    OpenAI   POST /v1/embeddings   {"model", "input": [text]} → {"data": [{"index", "embedding": […]}], "usage"}
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from synaptic.engines.refusal import error_of
from synaptic.errors import BackendError, EngineError, RefusedError, SynapticError, UsageError
from synaptic.models.model import OLLAMA
from synaptic.planning.ranking import rank
from synaptic.results import Json
from synaptic.terminal import one_line
from synaptic.web.gateway.body import Body
from synaptic.web.gateway.refusal import UnsupportedError
from synaptic.web.gateway.routes import Routes

if TYPE_CHECKING:
    from synaptic.cluster.node import NodeState
    from synaptic.session import Session

WITHIN = 300.0  # seconds: the model may have to be loaded first
MOST = 2048  # texts of one request, as OpenAI has it
LARGEST = 256 * 1024 * 1024  # bytes of an answer
Vectors = list[list[Json]]  # numbers


@dataclasses.dataclass(frozen=True)
class Embedded:
    vectors: Vectors
    tokens: int
    seconds: float


class Embedding:
    def __init__(self, session: Session, routes: Routes) -> None:
        self._session = session
        self._routes = routes

    async def of(self, body: Body, *, field: str = "input") -> Embedded:
        """Raises UnsupportedError where no server makes embeddings with that model."""
        name, texts = await self._routes.named(body.needed("model")), body.texts(field)
        if not texts or len(texts) > MOST:
            raise UsageError(f"{field} must be one to {MOST} texts")
        model = await asyncio.to_thread(self._session.catalog.find, name)
        refused: SynapticError | None = None
        began = time.monotonic()
        for state, _ in rank(self._session.nodes.states(), model):
            there = next(offer.name for offer in model.offers if offer.node == state.node.url)
            try:
                vectors, tokens = await self._ask(state, there, texts, body.whole("dimensions", 1, 2**20))
                return Embedded(vectors, tokens, time.monotonic() - began)
            except SynapticError as error:
                refused = error
        if refused:
            raise refused
        if servers := [offer.node for offer in model.offers if offer.node]:
            raise BackendError(f"no server that has {name} is ready: {', '.join(servers)}", hint="try: nodes health")
        raise UnsupportedError(
            f"no server makes embeddings with {name}: add an Ollama node that has it, or a llama-server --embeddings (nodes add URL)"
        )

    async def _ask(self, state: NodeState, name: str, texts: tuple[str, ...], dimensions: int | None) -> tuple[Vectors, int]:
        is_ollama = state.node.kind.value == OLLAMA
        asked: dict[str, Json] = {"model": name, "input": [*texts]}
        if dimensions:
            asked["dimensions"] = dimensions
        async with self._session.nodes.serving(state.node.url, name) as serving:
            began = time.monotonic()
            answer = await self._post(state.node.url, "/api/embed" if is_ollama else "/v1/embeddings", asked)
            vectors = _vectors(answer.get("embeddings") if is_ollama else _listed(answer), len(texts), state.node.url)
            counted = answer.get("prompt_eval_count") if is_ollama else _field(answer.get("usage"), "prompt_tokens")
            serving.done(tokens=0, seconds=time.monotonic() - began)
        return vectors, counted if isinstance(counted, int) else 0

    async def _post(self, url: str, path: str, asked: Mapping[str, Json]) -> Mapping[str, object]:
        import aiohttp

        key = self._session.nodes.key(url)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = aiohttp.ClientTimeout(total=WITHIN, sock_connect=5.0)
        try:
            async with (
                aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout) as http,
                http.post(url + path, json=asked, headers=headers, allow_redirects=False) as response,
            ):
                body = bytearray()
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > LARGEST:
                        raise EngineError(f"{url} sent more than {LARGEST} bytes")
        except (aiohttp.ClientError, OSError) as error:
            raise BackendError(f"nothing answers at {url}", hint="try: nodes health") from error
        if response.status != 200:
            raise _refusal(url, response.status, bytes(body))
        return await asyncio.to_thread(_document, bytes(body), url)


def _refusal(url: str, status: int, body: bytes) -> SynapticError:
    error = error_of(body)
    said = _field(error, "message") if isinstance(error, dict) else error
    because = f": {one_line(said, 200)}" if isinstance(said, str) and said else ""
    if status == 501:
        return UnsupportedError(f"{url} makes no embeddings{because}")
    is_well = 400 <= status < 500 or "is too large to process" in because  # llama-server says 500 to a text that is longer than its batch
    kind = RefusedError if is_well else EngineError
    return kind(f"{url} refused to make embeddings (HTTP {status}){because}")


def _document(body: bytes, url: str) -> Mapping[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise EngineError(f"what {url} sent is no JSON")
    return document


def _listed(answer: Mapping[str, object]) -> list[object]:
    data = answer.get("data")
    return [_field(each, "embedding") for each in data] if isinstance(data, list) else []


def _field(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _vectors(found: object, count: int, url: str) -> Vectors:
    """What the server sent, held against what it should be."""
    vectors = found if isinstance(found, list) else []
    if len(vectors) != count or not all(isinstance(vector, list) and vector and all(map(_is_number, vector)) for vector in vectors):
        raise EngineError(f"what {url} sent are no embeddings")
    return vectors


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
