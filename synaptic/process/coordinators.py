"""The coordinators of this session: one per model, started when first asked, however many ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from synaptic.cluster.pool import Pool
from synaptic.errors import EngineError
from synaptic.events import Bus, Noticed
from synaptic.planning.plan import Plan
from synaptic.process.child import Patience
from synaptic.process.coordinator import Coordinator
from synaptic.process.install import Engines

Tuning = tuple[Patience, int | None]  # how long to wait, and how many threads


class Coordinators:
    """`tuning()` is asked before each start."""

    def __init__(
        self, engines: Engines, pool: Pool, bus: Bus, *, logs: Path, variables: Mapping[str, str], tuning: Callable[[], Tuning]
    ) -> None:
        self._engines = engines
        self._pool = pool
        self._bus = bus
        self._logs = logs
        self._variables = variables
        self._tuning = tuning
        self._by_model: dict[str, Coordinator] = {}
        self._choosing = asyncio.Lock()

    def all(self) -> list[Coordinator]:
        return list(self._by_model.values())

    def up(self) -> list[Coordinator]:
        return [coordinator for coordinator in self.all() if coordinator.child.pid]

    def of(self, model: str | None) -> Coordinator:
        """The coordinator of a model; of None, the newest. Raises EngineError when there is none."""
        name = next(reversed(self._by_model), None) if model is None else model
        if name in self._by_model:
            return self._by_model[name]
        known = ", ".join(self._by_model)
        hint = f"there are: {known}" if known else f"try: coordinator start {name or 'MODEL'}"
        raise EngineError(f"no coordinator runs {name}" if name else "no coordinator runs", hint=hint)

    async def ensure(self, plan: Plan) -> Coordinator:
        """The coordinator for exactly this plan, ready. Another one on the same model or workers is stopped first."""
        async with self._choosing:
            coordinator = self._by_model.get(plan.model.name)
            if coordinator is None or coordinator.plan != plan:
                await self._make_room(plan)
                coordinator = self._by_model[plan.model.name] = self._new(plan)
        await coordinator.ensure_ready()
        return coordinator

    async def stop(self, model: str | None = None) -> list[str]:
        """Stop one or all; the names of those that ran."""
        chosen = [self.of(model)] if model else self.all()
        running = [coordinator for coordinator in chosen if coordinator.child.pid]
        await asyncio.gather(*(coordinator.stop() for coordinator in running))
        for coordinator in chosen:
            self._by_model.pop(coordinator.plan.model.name, None)
        return [coordinator.plan.model.name for coordinator in running]

    def let_go(self) -> None:
        """Leave them running and forget them."""
        for coordinator in self.all():
            coordinator.child.let_go()

    async def _make_room(self, plan: Plan) -> None:
        """A worker serves one coordinator at a time: a second one would hang, silently, before its port opens."""
        for other in self.all():
            same_model = other.plan.model.name == plan.model.name
            if not same_model and not set(other.plan.workers) & set(plan.workers):
                continue
            if other.generating:
                raise EngineError(f"{other.plan.model.name} is answering on these workers", hint="wait for it, or press Ctrl-C there")
            if not same_model and other.child.pid:
                self._bus.publish(Noticed(text=f"stopping {other.plan.model.name} to free its workers"))
            await other.stop()
            self._by_model.pop(other.plan.model.name, None)

    def _new(self, plan: Plan) -> Coordinator:
        patience, threads = self._tuning()
        program = self._engines.require("llama-server").path
        return Coordinator(
            plan, program, bus=self._bus, pool=self._pool, logs=self._logs, variables=self._variables, patience=patience, threads=threads
        )
