"""An answer from one server that has the model already: an Ollama node, or one that speaks OpenAI's API."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Sequence

from synaptic.cluster.nodes import Nodes
from synaptic.engines.engine import Chunk, Engine, Request
from synaptic.engines.over_workers import PROMPT_PATIENCE
from synaptic.errors import EngineError, RefusedError
from synaptic.models.model import OLLAMA
from synaptic.planning.plan import Route


class AtNode:
    def __init__(self, route: Route, nodes: Nodes, *, stall_seconds: float) -> None:
        self.load_seconds: float | None = None  # it loads by itself, and does not say when
        self._url = route.nodes[0]
        self._name = next((offer.name for offer in route.model.offers if offer.node == self._url), route.model.name)
        self._via = route.via
        self._nodes = nodes
        self._stall_seconds = stall_seconds

    async def chunks(self, request: Request, written: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
        assert not written  # it does not tell its tokens, so nobody goes on with an answer of its
        began, first = time.monotonic(), None
        async with self._nodes.serving(self._url, self._name) as serving, contextlib.aclosing(self._engine().generate(request)) as chunks:
            async for chunk in chunks:
                if chunk.text and first is None:
                    first = time.monotonic() - began
                if chunk.finish_reason:
                    tokens = chunk.usage.completion_tokens if chunk.usage else 0
                    serving.done(tokens=tokens, seconds=time.monotonic() - began, ttft_ms=first * 1000 if first is not None else None)
                yield chunk

    async def is_worth_another(self) -> bool:
        return False  # it knows best; another node may

    async def explained(self, error: EngineError, *, kept: bool) -> EngineError:
        stays = "; what was written so far stays" if kept else ""
        kind = RefusedError if isinstance(error, RefusedError) else EngineError
        return kind(f"{error}{stays}", hint=error.hint or "try: retry", details=error.details)

    def _engine(self) -> Engine:
        """Imported at its door: the Ollama client takes a while."""
        key, first = self._nodes.key(self._url), self._stall_seconds * PROMPT_PATIENCE
        if self._via == OLLAMA:
            from synaptic.engines.ollama import Ollama

            return Ollama(self._url, model=self._name, key=key, stall_seconds=self._stall_seconds, first_token_seconds=first)
        from synaptic.engines.openai import OpenAI

        return OpenAI(
            self._url, model=self._name, key=key, stall_seconds=self._stall_seconds, first_token_seconds=first, remedy="try: nodes health"
        )
