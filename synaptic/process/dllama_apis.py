"""The dllama-api processes of this session: one per model, started when first asked, however many ask at once."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from synaptic.cluster.dllama_workers import DllamaWorkers
from synaptic.dllama.header import NotAModelError, read_header
from synaptic.endpoint import Endpoint
from synaptic.errors import EngineError
from synaptic.events import Bus, Noticed
from synaptic.models.dllama_tokenizer import tokenizer_of
from synaptic.models.model import file_of
from synaptic.planning.plan import Plan
from synaptic.process.child import Patience
from synaptic.process.coordinator_ledger import CoordinatorLedger
from synaptic.process.dllama_api import ABSENT_WITHIN, DllamaCoordinator
from synaptic.process.dllama_command import Start
from synaptic.process.install import Engines

GONE_WITHIN = 5.0  # seconds for a killed process


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Asked before each start: it lasts as long as the process."""

    patience: Patience = Patience()  # noqa: RUF009 - frozen
    threads: int | None = None
    temperature: float | None = None  # None: what the model is meant for, else dllama's own
    seed: int | None = None


class DllamaApis:
    def __init__(
        self,
        engines: Engines,
        workers: DllamaWorkers,
        bus: Bus,
        *,
        logs: Path,
        variables: Mapping[str, str],
        tuning: Callable[[], Tuning],
        state: Path | None = None,
    ) -> None:
        self.workers = workers
        self._engines = engines
        self._bus = bus
        self._logs = logs
        self._variables = variables
        self._tuning = tuning
        self._ledger = CoordinatorLedger(state)
        self._by_model: dict[str, DllamaCoordinator] = {}
        self._choosing = asyncio.Lock()

    def all(self) -> list[DllamaCoordinator]:
        return list(self._by_model.values())

    def up(self) -> list[DllamaCoordinator]:
        return [coordinator for coordinator in self.all() if coordinator.child.pid]

    async def ensure(self, plan: Plan) -> DllamaCoordinator:
        """The one for exactly this plan, ready. Another one on the same model or workers is stopped first."""
        async with self._choosing:
            await self.reap()
            coordinator = self._by_model.get(plan.model.name)
            if coordinator is None or coordinator.plan != plan:
                await self._make_room(plan)
                coordinator = self._by_model[plan.model.name] = await asyncio.to_thread(self._new, plan)
        await self.workers.parking.lend(plan.workers)
        await coordinator.ensure_ready()
        return coordinator

    async def reap(self) -> None:
        """End what programs of ours that are gone have left behind; return when its workers listen again."""
        if freed := await asyncio.to_thread(reap, self._ledger):
            await self.workers.absent(freed, within=ABSENT_WITHIN)

    async def stop(self, model: str | None = None) -> list[str]:
        """Stop one or all; the names of those that ran."""
        chosen = [each for each in self.all() if model in (None, each.plan.model.name)]
        running = [coordinator for coordinator in chosen if coordinator.child.pid]
        await asyncio.gather(*(coordinator.stop() for coordinator in chosen))
        for coordinator in chosen:
            self._by_model.pop(coordinator.plan.model.name, None)
            await self.workers.parking.take_back(coordinator.plan.workers)
        return [coordinator.plan.model.name for coordinator in running]

    def let_go(self) -> None:
        """Leave them running and forget them."""
        for coordinator in self.all():
            coordinator.child.let_go()

    async def _make_room(self, plan: Plan) -> None:
        """A worker serves one root at a time, and refuses every other."""
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

    def _new(self, plan: Plan) -> DllamaCoordinator:
        """Blocks on the disk."""
        program = self._engines.require("dllama-api").path
        path = file_of(plan.model)
        try:
            header = read_header(path)
        except (OSError, NotAModelError) as error:
            raise EngineError(f"{path} {error}", hint="try: model list") from error
        tuning = self._tuning()
        temperature = plan.model.temperature if tuning.temperature is None else tuning.temperature
        return DllamaCoordinator(
            plan,
            Start(program, tokenizer_of(path), tuning.threads, temperature, tuning.seed),
            header,
            bus=self._bus,
            workers=self.workers,
            ledger=self._ledger,
            logs=self._logs,
            variables=self._variables,
            patience=tuning.patience,
        )


def reap(ledger: CoordinatorLedger) -> list[Endpoint]:
    """End those whose program is gone: nobody knows their turn any more. Blocks until they are; the workers that they had."""
    freed: list[Endpoint] = []
    for entry in ledger.entries():
        if entry.process and not entry.owner.is_alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(entry.process.pid, signal.SIGKILL)
            end = time.monotonic() + GONE_WITHIN
            while entry.is_alive and time.monotonic() < end:
                time.sleep(0.02)
            ledger.erase(entry)
            freed += entry.plan.workers
    return freed
