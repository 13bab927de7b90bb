"""Where a prompt for a distributed-llama model goes: over the dllama workers that listen now, or to this machine alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.dllama_workers import DllamaWorkers
from synaptic.dllama.header import DllamaHeader
from synaptic.engines.builtin import Roots
from synaptic.engines.by_root import ByRoot
from synaptic.engines.over_dllama import OverDllama
from synaptic.engines.running_root import Rooted
from synaptic.errors import EngineError
from synaptic.events import Bus
from synaptic.models.catalog import Catalog
from synaptic.models.model import BUILTIN, DLLAMA, Model
from synaptic.planning.costmodel import Prediction
from synaptic.planning.dllama import spread_dllama
from synaptic.planning.dllama_plan import LAYERS, NONE, TENSOR, DllamaPlan, Question, plan_dllama
from synaptic.planning.machine import Machine
from synaptic.planning.plan import Plan, Route, context_of
from synaptic.process import child
from synaptic.process.dllama_apis import DllamaApis
from synaptic.results import gib, plural
from synaptic.settings.values import Values

AUTO = "auto"


class DllamaRoutes:
    """
    `known()` gives the workers of the settings; `free()` the bytes of memory that this machine has now, if known;
    `machines(…)` workers with what is known of their speed and memory, None: nothing.
    """

    def __init__(
        self,
        catalog: Catalog,
        apis: DllamaApis,
        values: Callable[[], Values],
        bus: Bus,
        *,
        known: Callable[[], DllamaWorkers],
        free: Callable[[], int | None],
        roots: Roots,
        has_api: Callable[[], bool],
        machines: Callable[[Sequence[Backend]], list[Machine]] | None = None,
    ) -> None:
        self.apis = apis
        self.roots = roots
        self._rooted: dict[str, Rooted] = {}  # how the built-in root is to cut each model
        self._machines = machines or _nothing_known
        self._has_api = has_api
        self._catalog = catalog
        self._values = values
        self._bus = bus
        self._known = known
        self._free = free

    @staticmethod
    def can(model: Model) -> bool:
        """Whether it is a .m file on this machine."""
        return DLLAMA in model.engines and model.path is not None

    async def route(self, model: Model, *, via: str | None = None, goes_on: bool = False) -> Route:
        """
        `via` builtin is our own root; dllama, or None: whoever has it loaded, else dllama-api where it is installed and can cut
        it as it is wanted, else our own root.

        Raises BackendError when none of the known workers listens, EngineError when dllama cannot run it.

        `goes_on`: a part of the answer is written; rather than not at all it is finished on this machine.
        """
        is_forced = via is not None
        values = self._values()
        if via == BUILTIN or self.roots.of(model.name) or not self._has_api() or values.dllama_split == LAYERS:
            return await self.rooted(model, is_forced=is_forced)
        context = context_of(model, values.context)
        if plan := self._loaded(model, context):
            said = await self._prediction(plan, TENSOR if plan.workers else NONE)
            return Route(DLLAMA, plan.model, "loaded there already", plan, is_forced=is_forced, prediction=said)
        header = await self._header(model)
        await self.apis.reap()
        workers = await self._known().check() if values.distributed_inference_enabled else []
        if goes_on and not any(worker.is_there for worker in workers):
            workers = []
        free = await asyncio.to_thread(self._free)
        found = spread_dllama(model, header, workers, context=context, free=free)
        why = "; ".join(filter(None, (self._why(workers), found.why)))
        said = await self._prediction(found.plan, TENSOR if found.plan.workers else NONE)
        return Route(DLLAMA, model, why, found.plan, is_forced=is_forced, prediction=said)

    async def rooted(self, model: Model, *, split: str | None = None, is_forced: bool = False) -> Route:
        """Over the built-in root. `split`: tensor, layers or none. EngineError, BackendError."""
        values = self._values()
        context = context_of(model, values.context)
        if split is None and (loaded := self._root_as_wanted(model, context)):
            self._rooted[model.name] = loaded
            why, prediction = await self._loaded_there(loaded), await self._prediction(loaded.plan, loaded.split)
            return Route(BUILTIN, model, why, loaded.plan, is_forced=is_forced, prediction=prediction)
        is_spread = values.distributed_inference_enabled or split is not None
        known = await self._known().check() if is_spread and split != NONE else []
        workers = known if any(each.is_there for each in known) else []
        found = await self.planned(model, workers, context, split)
        if found.missing:
            raise EngineError(
                f"{model.name} does not fit these workers: {gib(found.missing)} missing",
                hint=f"try: dllama add more workers, a smaller context, or: dllama root {model.name} --split none",
            )
        is_guess = found.prediction.is_assumed
        self._rooted[model.name] = Rooted(found.plan, found.split, layers=() if is_guess else found.layers)
        why = f"by the built-in root: {_how(found) if is_spread else 'distributed is off'}"
        why += "; no dllama worker is ready" if known and not workers else ""
        return Route(BUILTIN, model, why, found.plan, is_forced=is_forced, prediction=None if is_guess else found.prediction)

    def _root_as_wanted(self, model: Model, context: int) -> Rooted | None:
        """One that runs over workers, or here alone, as the settings say now; one that was started by hand is as it is."""
        loaded = self.roots.of(model.name)
        if loaded is None or loaded.plan.context != context:
            return None
        is_spread = self._values().distributed_inference_enabled
        return loaded if loaded.is_pinned or is_spread is bool(loaded.plan.workers) else None

    async def _loaded_there(self, loaded: Rooted) -> str:
        """One that was lost and is back does not take part before the next start."""
        left = next((each.workers for each in self.roots.all() if each.plan == loaded.plan), ())
        lost = [each for each in loaded.plan.workers if each not in left]
        back = [each.endpoint for each in await self._known().check(lost) if each.is_there] if lost else []
        gone = ", ".join(str(each) for each in lost if each not in back)
        without = f"; without {gone}, which was lost" if gone else ""
        return f"loaded there already{without}" + (f"; {plural(len(back), 'worker')} more: coordinator restart takes them" if back else "")

    async def _prediction(self, plan: Plan, split: str) -> Prediction | None:
        """By what is known of its workers' speed now."""
        workers = [Backend(each, Kind.DLLAMA, State.IN_USE) for each in plan.workers]
        found = await self.planned(plan.model, workers, plan.context, split)
        return None if found.prediction.is_assumed or found.plan.workers != plan.workers else found.prediction

    async def planned(self, model: Model, workers: Sequence[Backend], context: int, split: str | None = None) -> DllamaPlan:
        """As the built-in root would run it. `workers`: as they were looked at just now. EngineError, BackendError."""
        wanted = split or (self._values().dllama_split if self._values().dllama_split != AUTO else None)
        return plan_dllama(await self.question(model, workers, context), wanted)

    async def question(self, model: Model, workers: Sequence[Backend], context: int) -> Question:
        """What is known of the model and of these workers. EngineError."""
        header = await self._header(model)
        machines, free = await asyncio.to_thread(lambda: (self._machines(workers), self._free()))
        return Question(model, header, workers, machines, Machine(None, free), context)

    async def _header(self, model: Model) -> DllamaHeader:
        """Raises EngineError."""
        header = await asyncio.to_thread(self._catalog.dllama_header, model)
        if header is None:
            raise EngineError(f"{model.name} is no distributed-llama model", hint="try: model list")
        return header

    def to_root(self, plan: Plan) -> Rooted:
        """How the root is to run what was routed to it last."""
        found = self._rooted.get(plan.model.name)
        return found if found and found.plan == plan else Rooted(plan, NONE)

    def root_attempt(self, plan: Plan) -> ByRoot:
        return ByRoot(self.to_root(plan), self.roots)

    def attempt(self, plan: Plan) -> OverDllama:
        return OverDllama(plan, self.apis, self._bus, stall_seconds=self._values().stall_seconds)

    def _why(self, workers: Sequence[Backend]) -> str:
        if not self._values().distributed_inference_enabled:
            return "distributed is off"
        return "distributed is on" if workers else "no dllama worker is known (dllama add)"

    def _loaded(self, model: Model, context: int) -> Plan | None:
        """One that has it loaded as it is wanted now stays: another split would send every weight again."""
        up = (each for each in self.apis.all() if each.plan.model.name == model.name and each.state is child.State.READY)
        one = next(up, None)
        is_spread = self._values().distributed_inference_enabled
        if one is None or one.plan.context != context or (one.plan.workers and not is_spread):
            return None
        return one.plan if one.plan.workers or not (is_spread and self._known().backends()) else None


def _how(found: DllamaPlan) -> str:
    if found.split == LAYERS and found.prediction.is_assumed:  # its counts are a guess
        return f"a run of layers for each of {plural(len(found.plan.workers), 'worker')}, as long as it is fast, which is measured first"
    return found.why


def _nothing_known(workers: Sequence[Backend]) -> list[Machine]:
    return [Machine(each.endpoint, None) for each in workers]
