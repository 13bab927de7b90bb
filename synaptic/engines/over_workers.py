"""An answer from a coordinator of ours, whose model lies over workers or on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator, MutableMapping, Sequence

from synaptic.cluster.pool import Pool
from synaptic.engines.attempt import Overcome
from synaptic.engines.engine import Chunk, LostError, Request, StalledError
from synaptic.engines.llama_server import LlamaServer
from synaptic.engines.openai import LONGEST_STALL
from synaptic.errors import EngineError, RefusedError
from synaptic.events import Bus
from synaptic.planning.plan import Plan
from synaptic.process.child import State
from synaptic.process.coordinator import Coordinator
from synaptic.process.coordinators import Coordinators
from synaptic.process.placement import Share
from synaptic.results import gib

OUT_OF_MEMORY = "out of memory"  # as llama_log.py says it
DEATH_NOTICED_WITHIN = 2.0  # seconds between a broken stream and the coordinator's exit
PROMPT_PATIENCE = 10  # times the patience between tokens: a long prompt is read before the first one


@dataclasses.dataclass(frozen=True)
class Recent:
    """The last answer of a coordinator; `at` by a steady clock, in seconds."""

    request: Request
    written: tuple[Chunk, ...]
    at: float


Memory = MutableMapping[Coordinator, Recent]


class OverWorkers:
    def __init__(
        self, plan: Plan, coordinators: Coordinators, pool: Pool, bus: Bus, *, stall_seconds: float | None, recent: Memory
    ) -> None:
        self.load_seconds: float | None = None
        self.overcame: Sequence[Overcome] = ()
        self._plan = plan
        self._coordinators = coordinators
        self._pool = pool
        self._bus = bus
        self._stall_seconds = stall_seconds
        self._recent = recent
        self._coordinator: Coordinator | None = None
        self._is_refused = False  # by a server that is well: nobody has died, and another would refuse it too

    async def chunks(self, request: Request, written: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
        began = time.monotonic()
        coordinator = self._coordinator = await self._coordinators.ensure(self._plan)
        self.load_seconds = time.monotonic() - began
        server = server_of(coordinator, self._stall_seconds)
        said = list(written)
        async with self._turn(coordinator):
            coordinator.generating += 1
            try:
                stream = server.resume(request, written) if written else server.generate(request)
                async with contextlib.aclosing(stream) as chunks:
                    async for chunk in chunks:
                        if chunk.ids:
                            said.append(chunk)
                        yield chunk
            except RefusedError:
                self._is_refused = True
                raise
            finally:
                coordinator.generating -= 1
                if not self._is_refused:
                    self._recent[coordinator] = Recent(request, tuple(said), time.monotonic())

    @contextlib.asynccontextmanager
    async def _turn(self, coordinator: Coordinator) -> AsyncIterator[None]:
        """One of its slots. All who ask in this program come in their order."""
        is_full = coordinator.turns.locked()
        with self._bus.work(f"waiting: {self._plan.model.name} answers someone else") if is_full else contextlib.nullcontext():
            await coordinator.turns.acquire()
        try:
            yield
        finally:
            coordinator.turns.release()

    async def is_worth_another(self) -> bool:
        """A coordinator that had served and died: it was a worker, or chance."""
        return self._coordinator is not None and not self._is_refused and await self._coordinator.child.exited(DEATH_NOTICED_WITHIN)

    async def explained(self, error: EngineError, *, kept: bool) -> EngineError:
        """The engine's own error, or the death behind it with the name of the lost worker."""
        coordinator = self._coordinator
        if self._is_refused:
            return error
        if coordinator is None:  # it did not come up
            lost = await self._lost()
            if lost:
                return LostError(str(error), lost=lost, hint=error.hint, details=error.details)
            return self._with_memory(error) if OUT_OF_MEMORY in str(error) else error
        if isinstance(error, StalledError):
            with self._bus.work(f"stopping {self._plan.model.name}, which says nothing any more"):
                await coordinator.stop()  # only then can its workers be asked which of them is frozen
            cause = f"{error}; its coordinator was stopped"
        elif coordinator.lost:
            await coordinator.stop()  # it is on its way down; until then its workers cannot be asked
            cause = ""
        elif await coordinator.child.exited(DEATH_NOTICED_WITHIN) and coordinator.state is State.FAILED:
            cause = coordinator.child.cause
        else:
            return error
        lost = await self._lost()
        if lost and not isinstance(error, StalledError):
            cause = f"worker {', '.join(lost)} was lost"
        elif lost:
            cause += f"; {', '.join(lost)} does not answer"
        stays = "; what was written so far stays" if kept else ""
        message = f"the answer broke off: {cause or coordinator.lost}{stays}"
        return LostError(message, lost=lost, hint="try: retry", details=tuple(coordinator.child.last_words)[-5:])

    def _with_memory(self, error: EngineError) -> EngineError:
        """Who was to hold how much when it was too much, as far as the log had said."""
        shares = next((each.shares() for each in self._coordinators.all() if each.plan == self._plan), ())
        free = {str(record.endpoint): record.free_bytes for record in self._pool.records() if record.devices}
        table = [f"{share.endpoint}: {_held(share, free.get(share.endpoint))}" for share in shares]
        hint = f"try: plan {self._plan.model.name}, a smaller context (config set context N), or config set kv_type q8_0"
        return EngineError(str(error), hint=hint, details=(*error.details[-5:], *table))

    async def _lost(self) -> tuple[str, ...]:
        return tuple(str(worker.endpoint) for worker in await self._pool.check(self._plan.workers) if not worker.is_ready)


def _held(share: Share, free: int | None) -> str:
    room = f", of {gib(free)}" if free is not None else ""
    return f"{gib(share.model_bytes)} of weights, {gib(share.kv_bytes)} of KV cache, {gib(share.compute_bytes)} to compute{room}"


def server_of(coordinator: Coordinator, stall_seconds: float | None, patience: float = PROMPT_PATIENCE) -> LlamaServer:
    """`patience`: how many times as long as between two tokens the first one may take."""
    assert coordinator.url
    return LlamaServer(
        coordinator.url,
        model=coordinator.plan.model.name,
        key=coordinator.key,
        stall_seconds=stall_seconds,
        first_token_seconds=(stall_seconds or LONGEST_STALL) * patience,
    )
