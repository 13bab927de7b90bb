"""The ways to one model, each asked for the same: under another name than the model's, so that nobody else's prompt comes by."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from synaptic.bench.coordinator import ended, held, renamed
from synaptic.bench.verify.agreement import Agreement, Written
from synaptic.bench.verify.greedy import by_llama_server, by_openai, template
from synaptic.endpoint import Endpoint
from synaptic.engines.engine import Message, Request
from synaptic.errors import EngineError, SynapticError
from synaptic.models.model import BUILTIN, DLLAMA, OLLAMA, Model, Offer
from synaptic.planning.placement import place
from synaptic.planning.plan import Plan
from synaptic.planning.shape import Shape
from synaptic.server_url import without_path
from synaptic.shipped import shipped

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.session import Session

CONTEXT = 512  # tokens; the question, its answer, and room
SUFFIX = "-verify"
PATIENCE = 600.0  # seconds


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to the model. `agreement` None: it is the reference, or gave nothing (`why` says so)."""

    name: str
    workers: tuple[Endpoint, ...]
    written: Written | None
    agreement: Agreement | None = None
    why: str = ""


class Ways:
    def __init__(self, session: Session, model: Model, question: str, tokens: int) -> None:
        self.model = model
        self.question = question
        self._session = session
        self._tokens = tokens
        self._text = ""  # the question in the model's own form
        self._shape: Shape | None = None

    async def here(self) -> Way:
        """Raises EngineError: without this one there is nothing to compare with."""
        header = await asyncio.to_thread(self._session.catalog.header, self.model)
        self._shape = Shape.of(header)
        machine, _ = await asyncio.to_thread(self._session.machines, [])
        if not place(self._shape, [machine], context=CONTEXT).fits:
            raise EngineError(
                f"{self.model.name} does not fit on this machine, so nobody is sure to be right",
                hint="verify without a model tests the same workers with a small one",
            )
        return Way("this machine", (), await self._by(Plan(self.model, (), CONTEXT)))

    def groups(self, workers: Sequence[Backend]) -> list[Sequence[Backend]]:
        """No more at a time than the model has layers."""
        size = max(1, self._shape.layers if self._shape else 1)
        return [workers[start : start + size] for start in range(0, len(workers), size)]

    async def over(self, workers: Sequence[Backend]) -> Way:
        """Every one of them holds a part; what they said, or why they did not."""
        assert self._shape
        endpoints = tuple(worker.endpoint for worker in workers)
        name = f"llama.cpp over {', '.join(map(str, endpoints))}"
        _, machines = await asyncio.to_thread(self._session.machines, workers)
        placed = place(self._shape, machines, context=CONTEXT, must_use_all=True)
        used = tuple(share.endpoint for share in placed.shares if share.endpoint and share.layers)
        if not placed.fits:
            return Way(name, endpoints, None, why=placed.why)
        try:
            return Way(name, used, await self._by(Plan(self.model, used, CONTEXT, tensor_split=placed.tensor_split)))
        except SynapticError as error:
            return Way(name, used, None, why=str(error))

    async def others(self) -> list[Way]:
        """Servers that offer a model of this name, and distributed-llama where there is a file for it."""
        await self._session.nodes.refresh(max_age=5.0)
        model = await asyncio.to_thread(self._session.catalog.find, self.model.name)
        found = [await self._asked(f"{offer.engine} at {offer.node}", self._of_node(offer)) for offer in model.offers]
        return found + [await self._asked(f"{via}, from {path}", self._of_dllama(path, via)) for path, via in self._dllama_files()]

    async def end(self) -> None:
        """Nothing of ours stays on the workers."""
        await ended(self._session.coordinators, f"{self.model.name}{SUFFIX}")

    async def _by(self, plan: Plan) -> Written:
        async with held(self._session.coordinators, renamed(plan, SUFFIX)) as server:
            self._text = self._text or await template(server.url, server.key, self.question)
            return await by_llama_server(server.url, server.key, self._text, self._tokens)

    async def _of_node(self, offer: Offer) -> Written:
        key = self._session.nodes.key(offer.node)
        if offer.engine != OLLAMA:
            return await by_openai(without_path(offer.node), key, offer.name, self._text, self._tokens)
        from synaptic.engines.ollama import Ollama

        server = Ollama(offer.node, model=offer.name, key=key, stall_seconds=PATIENCE, first_token_seconds=PATIENCE)
        request = Request((), offer.name, temperature=0.0, seed=0, max_tokens=self._tokens, context=CONTEXT, prompt=self._text)
        async with contextlib.aclosing(server.generate(request)) as chunks:
            return Written("".join([chunk.text async for chunk in chunks]))

    async def _of_dllama(self, path: str, via: str) -> Written:
        """It takes no text as it is: the question in its own form."""
        route = await self._session.answering.route(path, via=via)
        request = Request((Message("user", self.question),), route.model.name, temperature=0.0, seed=0, max_tokens=self._tokens)
        async with contextlib.aclosing(self._session.answering.attempt(route).chunks(request, ())) as chunks:
            return Written("".join([chunk.text async for chunk in chunks]))

    def _dllama_files(self) -> list[tuple[str, str]]:
        """The shipped model comes in that form too."""
        if not self.model.is_shipped:
            return []
        path = str(shipped("demo", "demo-q40.m"))
        has_api = self._session.engines.find("dllama-api") is not None
        return [(path, via) for via in ((DLLAMA, BUILTIN) if has_api else (BUILTIN,))]

    @staticmethod
    async def _asked(name: str, answer: Awaitable[Written]) -> Way:
        try:
            return Way(name, (), await answer)
        except SynapticError as error:
            return Way(name, (), None, why=str(error))
