"""Where a prompt for a distributed-llama model goes: over the dllama workers that listen now, or to this machine alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from synaptic.cluster.backend import Backend
from synaptic.cluster.dllama_workers import DllamaWorkers
from synaptic.engines.builtin import LAYERS, NONE, TENSOR, ByRoot, Rooted, Roots
from synaptic.engines.over_dllama import OverDllama
from synaptic.errors import EngineError
from synaptic.events import Bus
from synaptic.models.catalog import Catalog
from synaptic.models.model import BUILTIN, DLLAMA, Model
from synaptic.planning.dllama import is_there, spread_dllama
from synaptic.planning.plan import Plan, Route, context_of
from synaptic.process.child import State
from synaptic.process.dllama_apis import DllamaApis
from synaptic.settings import Values

AUTO = "auto"


class DllamaRoutes:
    """`known()` gives the workers of the settings; `free()` the bytes of memory that this machine has now, if known."""

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
    ) -> None:
        self.apis = apis
        self.roots = roots
        self.cut: dict[str, str] = {}  # how the built-in root is to cut each model
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
        `via` dllama is dllama-api, builtin our own root; None: the one that has it loaded, else dllama-api where it is installed.

        Raises BackendError when none of the known workers listens, EngineError when dllama cannot run it.

        `goes_on`: a part of the answer is written; rather than not at all it is finished on this machine.
        """
        is_forced = via is not None
        if via == BUILTIN or (via is None and (self.roots.of(model.name) or not self._has_api())):
            return await self.rooted(model, is_forced=is_forced)
        values = self._values()
        context = context_of(model, values.context)
        if plan := self._loaded(model, context):
            return Route(DLLAMA, plan.model, "loaded there already", plan, is_forced=is_forced)
        header = await asyncio.to_thread(self._catalog.dllama_header, model)
        if header is None:
            raise EngineError(f"{model.name} is no distributed-llama model", hint="try: model list")
        await self.apis.reap()
        workers: Sequence[Backend] = ()
        if values.distributed_inference_enabled:
            workers = await self._known().check()
        if goes_on and not any(is_there(worker) for worker in workers):
            workers = ()
        free = await asyncio.to_thread(self._free)
        found = spread_dllama(model, header, workers, context=context, free=free)
        return Route(DLLAMA, model, "; ".join(filter(None, (self._why(workers), found.why))), found.plan, is_forced=is_forced)

    async def rooted(self, model: Model, *, split: str | None = None, is_forced: bool = False) -> Route:
        """Over the built-in root. `split`: tensor, layers or none. EngineError, BackendError."""
        values = self._values()
        context = context_of(model, values.context)
        loaded = self.roots.of(model.name)
        is_spread = values.distributed_inference_enabled or split is not None
        if loaded and split is None and is_spread is bool(loaded.plan.workers) and loaded.plan.context == context:
            return Route(BUILTIN, model, "loaded there already", loaded.plan, is_forced=is_forced)
        workers = [each for each in (await self._known().check() if is_spread and split != NONE else ()) if is_there(each)]
        header = await asyncio.to_thread(self._catalog.dllama_header, model)
        assert header
        if not workers:
            why = "by the built-in root, on this machine" if is_spread else "by the built-in root: distributed is off"
            self.cut[model.name] = NONE
            return Route(BUILTIN, model, why, Plan(model, (), context), is_forced=is_forced)
        wanted = split or (values.dllama_split if values.dllama_split != AUTO else None)
        shares = spread_dllama(model, header, workers, context=context)
        as_shares = wanted == TENSOR or (wanted is None and not shares.left_out)
        self.cut[model.name] = TENSOR if as_shares else LAYERS
        plan = shares.plan if as_shares else Plan(model, tuple(each.endpoint for each in workers), context)
        how = "a share of every layer" if as_shares else "a run of layers"
        return Route(BUILTIN, model, f"by the built-in root, {how} for each worker", plan, is_forced=is_forced)

    def root_attempt(self, plan: Plan) -> ByRoot:
        loaded = self.roots.of(plan.model.name)
        if loaded and loaded.plan == plan:
            return ByRoot(loaded, self.roots)
        return ByRoot(Rooted(plan, self.cut.get(plan.model.name, NONE)), self.roots)

    def attempt(self, plan: Plan) -> OverDllama:
        return OverDllama(plan, self.apis, self._bus, stall_seconds=self._values().stall_seconds)

    def _why(self, workers: Sequence[Backend]) -> str:
        if not self._values().distributed_inference_enabled:
            return "distributed is off"
        return "distributed is on" if workers else "no dllama worker is known (dllama add)"

    def _loaded(self, model: Model, context: int) -> Plan | None:
        """One that has it loaded as it is wanted now stays: another split would send every weight again."""
        up = (each for each in self.apis.all() if each.plan.model.name == model.name and each.state is State.READY)
        one = next(up, None)
        is_spread = self._values().distributed_inference_enabled
        if one is None or one.plan.context != context or (one.plan.workers and not is_spread):
            return None
        return one.plan if one.plan.workers or not (is_spread and self._known().backends()) else None
