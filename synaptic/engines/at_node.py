"""
An answer from one server that has the model already: an Ollama node, or one that speaks OpenAI's API.

Of a vLLM the tokens are known: where it breaks off, another vLLM of the same model goes on with its answer.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Sequence

from synaptic.cluster.nodes import Nodes
from synaptic.cluster.software import VLLM
from synaptic.engines.attempt import Overcome
from synaptic.engines.engine import Chunk, Engine, LostError, Request
from synaptic.engines.openai import OpenAI
from synaptic.engines.over_workers import PROMPT_PATIENCE
from synaptic.engines.vllm import Vllm
from synaptic.errors import EngineError, RefusedError
from synaptic.models.model import OLLAMA
from synaptic.planning.plan import Route


class AtNode:
    def __init__(self, route: Route, nodes: Nodes, *, stall_seconds: float) -> None:
        self.load_seconds: float | None = None  # it loads by itself, and does not say when
        self.overcame: Sequence[Overcome] = ()
        self._route = route
        self._url = route.nodes[0]
        self._nodes = nodes
        self._stall_seconds = stall_seconds
        self._tells_tokens = False

    async def chunks(self, request: Request, written: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
        if written:
            self._url = self._other_vllm()
        engine = self._engine()
        stream = engine.resume(request, written) if written and isinstance(engine, Vllm) else engine.generate(request)
        began, first = time.monotonic(), None
        async with self._nodes.serving(self._url, self._name) as serving, contextlib.aclosing(stream) as chunks:
            async for chunk in chunks:
                if chunk.text and first is None:
                    first = time.monotonic() - began
                if chunk.finish_reason:
                    tokens = chunk.usage.completion_tokens if chunk.usage else 0
                    serving.done(tokens=tokens, seconds=time.monotonic() - began, ttft_ms=first * 1000 if first is not None else None)
                self._tells_tokens = self._tells_tokens or bool(chunk.ids)
                yield chunk

    async def is_worth_another(self) -> bool:
        return False  # it knows best; another node may

    async def explained(self, error: EngineError, *, kept: bool) -> EngineError:
        stays = "; what was written so far stays" if kept else ""
        if kept and self._tells_tokens and not isinstance(error, RefusedError):
            return LostError(f"{error}{stays}", lost=(self._url,), hint=error.hint or "try: retry", details=error.details)
        kind = RefusedError if isinstance(error, RefusedError) else EngineError
        return kind(f"{error}{stays}", hint=error.hint or "try: retry", details=error.details)

    @property
    def _name(self) -> str:
        """As that server calls it."""
        model = self._route.model
        return next((offer.name for offer in model.offers if offer.node == self._url), model.name)

    def _other_vllm(self) -> str:
        """The best that can go on with an answer."""
        for url in self._route.nodes:
            if self._is_vllm(url):
                return url
        raise EngineError(f"no other vLLM that has {self._route.model.name} is ready", hint="try: retry")

    def _is_vllm(self, url: str) -> bool:
        state = self._nodes.state(url)
        return state is not None and state.software == VLLM

    def _engine(self) -> Engine:
        """Imported at its door: the Ollama client takes a while."""
        key, first = self._nodes.key(self._url), self._stall_seconds * PROMPT_PATIENCE
        if self._route.via == OLLAMA:
            from synaptic.engines.ollama import Ollama

            return Ollama(self._url, model=self._name, key=key, stall_seconds=self._stall_seconds, first_token_seconds=first)
        client = Vllm if self._is_vllm(self._url) else OpenAI
        return client(
            self._url, model=self._name, key=key, stall_seconds=self._stall_seconds, first_token_seconds=first, remedy="try: nodes health"
        )
