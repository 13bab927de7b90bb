"""
From a prompt to an answer: the route, the coordinator, the stream.

An answer that breaks keeps what was shown. Before the first token a lost worker costs one silent retry on a new plan;
after it nothing is run again, so that nothing is shown twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable

from synaptic.cluster.pool import Pool
from synaptic.engines.engine import Chunk, Message, Request, StalledError
from synaptic.engines.openai import OpenAI, tail
from synaptic.errors import EngineError
from synaptic.events import Bus, GenerationFinished, GenerationProgressed, GenerationStarted, RouteChosen
from synaptic.models.catalog import Catalog
from synaptic.planning.plan import Route
from synaptic.planning.routing import choose
from synaptic.process.child import State
from synaptic.process.coordinator import Coordinator
from synaptic.process.coordinators import Coordinators
from synaptic.results import Json, Outcome, plural
from synaptic.settings import Values

DEMO = "demo"
DEATH_NOTICED_WITHIN = 2.0  # seconds between a broken stream and the coordinator's exit
PROMPT_PATIENCE = 10  # times the patience between tokens: a long prompt is read before the first one
TELL_EVERY = 0.25  # seconds between two progress events of one answer


class Answering:
    def __init__(self, catalog: Catalog, pool: Pool, coordinators: Coordinators, values: Callable[[], Values], bus: Bus) -> None:
        self._catalog = catalog
        self._pool = pool
        self.coordinators = coordinators
        self.values = values
        self.bus = bus

    async def route(self, model: str | None = None) -> Route:
        """Where a prompt for `model` goes now, after a handshake with every worker that is not ours already."""
        values = self.values()
        found = await asyncio.to_thread(self._catalog.find, model or values.model or DEMO)
        workers = await self._pool.check() if values.distributed_inference_enabled else []
        route = choose(found, distributed=values.distributed_inference_enabled, workers=workers, context=values.context)
        self.bus.publish(RouteChosen(model=found.name, via=route.via, why=route.why))
        return route

    async def lost_workers(self, route: Route) -> list[str]:
        """Which workers of the route do not answer any more."""
        return [str(worker.endpoint) for worker in await self._pool.check(route.plan.workers) if not worker.is_ready]


class Reply:
    """One answer on its way: iterate `pieces`, then ask for the `outcome`."""

    def __init__(self, answering: Answering, route: Route, messages: tuple[Message, ...], remember: Callable[[str, bool], None]) -> None:
        self.route = route
        self.text = ""
        self._answering = answering
        self._messages = messages
        self._remember = remember
        self._end: Chunk | None = None
        self._error: EngineError | None = None
        self._tokens = 0
        self._first: float | None = None
        self._load_seconds: float | None = None

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Text as it comes. Raises EngineError if nothing came at all; later failures are in the outcome."""
        name = self.route.plan.model.name
        self._answering.bus.publish(GenerationStarted(model=name))
        try:
            async with contextlib.aclosing(self._try_twice()) as texts:
                async for text in texts:
                    yield text
        except EngineError as error:
            self._error = error
            if not self.text:
                raise
        finally:
            complete = self._end is not None
            self._remember(self.text, complete)
            rate, ttft = (
                (self._end.timings.tokens_per_second, self._end.timings.ttft_ms) if self._end and self._end.timings else (None, None)
            )
            self._answering.bus.publish(
                GenerationFinished(model=name, complete=complete, tokens=self._tokens, tokens_per_second=rate, ttft_ms=ttft)
            )

    def outcome(self) -> Outcome:
        end = self._end or Chunk()
        line = tail(end.usage, end.timings) if self._end else f"{plural(self._tokens, 'token')}, incomplete"
        if self._load_seconds and self._load_seconds >= 0.5:
            line += f" · loaded in {self._load_seconds:.1f} s"
        return Outcome(self._as_json(), line, self._error)

    async def _try_twice(self) -> AsyncGenerator[str, None]:
        for attempt in ("first", "second"):
            coordinator: Coordinator | None = None
            try:
                coordinator = await self._ready()
                async with contextlib.aclosing(self._generate(coordinator)) as texts:
                    async for text in texts:
                        yield text
                return
            except EngineError as error:
                if self.text or attempt == "second" or not await self._has_another_way(coordinator):
                    raise await self._explained(error, coordinator) from error

    async def _ready(self) -> Coordinator:
        began = time.monotonic()
        coordinator = await self._answering.coordinators.ensure(self.route.plan)
        self._load_seconds = time.monotonic() - began
        return coordinator

    async def _generate(self, coordinator: Coordinator) -> AsyncGenerator[str, None]:
        values = self._answering.values()
        assert coordinator.url
        engine = OpenAI(
            coordinator.url,
            model=self.route.plan.model.name,
            key=coordinator.key,
            stall_seconds=values.stall_seconds,
            first_token_seconds=values.stall_seconds * PROMPT_PATIENCE,
        )
        temperature = self.route.plan.model.temperature if values.temperature is None else values.temperature
        request = Request(self._messages, self.route.plan.model.name, temperature, values.seed, values.max_tokens)
        coordinator.generating += 1
        told = 0.0
        try:
            async with contextlib.aclosing(engine.generate(request)) as chunks:
                async for chunk in chunks:
                    if chunk.finish_reason:
                        self._end = chunk
                    if not chunk.text:
                        continue
                    self.text += chunk.text
                    self._tokens += 1
                    told = self._tell(told)
                    yield chunk.text
        finally:
            coordinator.generating -= 1

    def _tell(self, told: float) -> float:
        now = time.monotonic()
        self._first = self._first or now
        if now - told < TELL_EVERY:
            return told
        rate = (self._tokens - 1) / (now - self._first) if now > self._first else None
        self._answering.bus.publish(GenerationProgressed(model=self.route.plan.model.name, tokens=self._tokens, tokens_per_second=rate))
        return now

    async def _has_another_way(self, coordinator: Coordinator | None) -> bool:
        """Whether trying again makes sense: a coordinator that had served died, or the plan has changed by now."""
        had_served = coordinator is not None and await coordinator.child.exited(DEATH_NOTICED_WITHIN)
        if not self.route.plan.workers:
            return had_served
        before, self.route = self.route, await self._answering.route(self.route.plan.model.name)
        return had_served or before.plan != self.route.plan

    async def _explained(self, error: EngineError, coordinator: Coordinator | None) -> EngineError:
        """The engine's own error, or the death behind it with the name of the lost worker."""
        if coordinator and isinstance(error, StalledError):
            with self._answering.bus.work(f"stopping {self.route.plan.model.name}, which says nothing any more"):
                await coordinator.stop()  # only then can its workers be asked which of them is frozen
            return EngineError(f"{error}; its coordinator was stopped", hint="try: retry")
        if coordinator is None or not await coordinator.child.exited(DEATH_NOTICED_WITHIN) or coordinator.state is not State.FAILED:
            return error
        lost = await self._answering.lost_workers(self.route)
        cause = f"worker {', '.join(lost)} was lost" if lost else coordinator.child.cause
        kept = "; what was written so far stays" if self.text else ""
        return EngineError(f"the answer broke off: {cause}{kept}", hint="try: retry", details=tuple(coordinator.child.last_words)[-5:])

    def _as_json(self) -> Json:
        end = self._end or Chunk()
        usage, timings = end.usage, end.timings
        return {
            "text": self.text,
            "model": self.route.plan.model.name,
            "complete": self._end is not None,
            "finish_reason": end.finish_reason,
            "route": self.route.as_json(),
            "failovers": [],
            "usage": {
                "prompt_tokens": usage.prompt_tokens if usage else None,
                "completion_tokens": usage.completion_tokens if usage else self._tokens,
                "cached_tokens": usage.cached_tokens if usage else None,
            },
            "timings": {
                "ttft_ms": timings.ttft_ms if timings else None,
                "tokens_per_second": timings.tokens_per_second if timings else None,
                "total_ms": timings.total_ms if timings else None,
                "load_ms": round(self._load_seconds * 1000, 1) if self._load_seconds is not None else None,
            },
        }
