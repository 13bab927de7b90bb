"""Where a prompt goes now: asks everyone who might answer, lets the routing decide, and makes the attempt."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

from synaptic.cluster.backend import Backend
from synaptic.cluster.nodes import Nodes
from synaptic.cluster.pool import Pool
from synaptic.engines.at_node import AtNode
from synaptic.engines.attempt import Attempt
from synaptic.engines.dllama_routes import DllamaRoutes
from synaptic.engines.engine import Timings
from synaptic.engines.openai import LONGEST_STALL
from synaptic.engines.over_workers import OverWorkers, Recent
from synaptic.errors import SynapticError
from synaptic.events import Bus, RouteChosen
from synaptic.models.catalog import Catalog
from synaptic.models.entries import SHIPPED
from synaptic.models.model import BUILTIN, DLLAMA, LLAMA_CPP, Model
from synaptic.planning.expected import expected
from synaptic.planning.machine import Machine
from synaptic.planning.plan import Route, context_of
from synaptic.planning.predictions import Measured, Predictions
from synaptic.planning.ranking import rank
from synaptic.planning.routing import Situation, choose, is_as_wanted
from synaptic.planning.shape import Shape
from synaptic.process.child import State
from synaptic.process.coordinator import Coordinator
from synaptic.process.coordinators import Coordinators
from synaptic.results import plural
from synaptic.settings.values import Values

_logger = logging.getLogger(__name__)
DEMO = "demo"
AUTO = "auto"
NODES_FRESH = 5.0  # seconds for which what the nodes said is believed


class Answering:
    def __init__(
        self,
        catalog: Catalog,
        pool: Pool,
        nodes: Nodes,
        coordinators: Coordinators,
        values: Callable[[], Values],
        bus: Bus,
        *,
        machines: Callable[[Sequence[Backend]], tuple[Machine, Sequence[Machine]]],
        predictions: Predictions,
        confirm: Callable[[str], Awaitable[bool]],
        dllama: DllamaRoutes | None = None,
        embedded: Callable[[str | None], Path | None] = lambda via: None,
        most_slots: Callable[[], int] = lambda: 1,
    ) -> None:
        self.coordinators = coordinators
        self.values = values
        self.bus = bus
        self.confirm = confirm
        self.recent: WeakKeyDictionary[Coordinator, Recent] = WeakKeyDictionary()
        self._catalog = catalog
        self._pool = pool
        self._nodes = nodes
        self._machines = machines
        self._predictions = predictions
        self._dllama = dllama
        self._embedded = embedded
        self._most_slots = most_slots

    async def route(self, model: str | None = None, *, via: str | None = None, goes_on: bool = False, slots: int | None = None) -> Route:
        """
        Where a prompt for `model` goes now. `via` names the engine for this prompt, whatever the settings say, and
        `slots` how many answers its coordinator shall write at once.

        `goes_on`: a part of the answer is written; rather than not at all it is finished on this machine.
        """
        values, via = self.values(), self._wanted(via)
        workers, _ = await asyncio.gather(self._workers(), self._nodes.refresh(max_age=NODES_FRESH))
        found = await self.find(model, via=via)
        situation = await self._situation(found, workers, via)
        situation = dataclasses.replace(situation, goes_on=goes_on, slots=slots or values.parallel)
        if self._dllama and self._dllama.can(found) and (via in (DLLAMA, BUILTIN) or not (via or situation.nodes)):
            route = await self._dllama.route(found, via=via, goes_on=goes_on)
        else:
            route = self._loaded(found, situation) or choose(found, situation)
        self.bus.publish(RouteChosen(model=found.name, via=route.via, why=route.why))
        return route

    async def find(self, model: str | None = None, *, via: str | None = None) -> Model:
        """The model of a prompt, in the form in which it would be answered now; arguments as those of `route`."""
        return await asyncio.to_thread(self._find, model or self.values().model or DEMO, self._wanted(via))

    def _wanted(self, via: str | None) -> str | None:
        return via or (wanted if (wanted := self.values().via) != AUTO else None)

    def _find(self, name: str, via: str | None) -> Model:
        """The shipped model comes in two forms: where its own engine is not meant, or not there, the other one stands in."""
        found = self._catalog.find(name)
        other = self._embedded(via) if found.is_shipped and LLAMA_CPP in found.engines else None
        if other is None:
            return found
        return dataclasses.replace(self._catalog.find(str(other)), name=found.name, source=SHIPPED, temperature=found.temperature)

    def attempt(self, route: Route) -> Attempt:
        stall_seconds = self.values().stall_seconds
        if route.plan is None:
            return AtNode(route, self._nodes, stall_seconds=stall_seconds or LONGEST_STALL)
        if route.via == DLLAMA and self._dllama:
            return self._dllama.attempt(route.plan)
        if route.via == BUILTIN and self._dllama:
            return self._dllama.root_attempt(route.plan)
        return OverWorkers(route.plan, self.coordinators, self._pool, self.bus, stall_seconds=stall_seconds, recent=self.recent)

    def learn(self, route: Route, tokens: int, timings: Timings | None) -> None:
        """Keep what an answer took beside what was predicted for it."""
        if route.prediction is None or timings is None:
            return
        try:
            self._predictions.record(route.model.name, route.prediction, Measured(timings.tokens_per_second, timings.ttft_ms, tokens))
        except SynapticError as error:
            _logger.warning("%s", error)

    async def _workers(self) -> list[Backend]:
        """After a handshake with every worker that is not ours already."""
        return await self._pool.check() if self.values().distributed_inference_enabled else []

    async def _situation(self, model: Model, workers: Sequence[Backend], via: str | None) -> Situation:
        values = self.values()
        here, machines = await asyncio.to_thread(self._machines, [worker for worker in workers if worker.is_ready])
        return Situation(
            distributed=values.distributed_inference_enabled,
            workers=workers,
            machines=machines,
            here=here,
            nodes=rank(self._nodes.states(), model),
            shape=Shape.of(await asyncio.to_thread(self._catalog.header, model)) if LLAMA_CPP in model.engines else None,
            context=context_of(model, values.context),
            kv_type=values.kv_type,
            most_slots=self._most_slots(),
            via=via,
            split=next((split.shares for split in values.splits if split.model == model.name), ()),
        )

    def _loaded(self, model: Model, now: Situation) -> Route | None:
        """A coordinator that has, or is loading, the model as it is wanted now stays: another split would load it again."""
        self.coordinators.look()
        up = (each.plan for each in self.coordinators.all() if each.state in (State.READY, State.STARTING))
        plan = next((each for each in up if each.model.name == model.name), None)
        ready = {worker.endpoint for worker in now.workers if worker.is_ready}
        if plan is None or not is_as_wanted(plan, now) or not ready.issuperset(plan.workers):
            return None
        more = ready.difference(plan.workers)
        hint = f"; {plural(len(more), 'worker')} more: coordinator restart takes them" if more else ""
        expectation = expected(plan, now.shape, [*now.machines, now.here]) if now.shape else None
        said = expectation.predicted() if expectation else None
        return Route(LLAMA_CPP, plan.model, f"loaded there already{hint}", plan, is_forced=now.via is not None, prediction=said)
