"""
The coordinators of this machine that this session knows: its own, and those that other programs of ours run.

One per model, started when first asked, however many ask at once. One that another program runs, or left running, is
found in the ledger and used when its plan is the one that is wanted; it is stopped at the end of the session only if
it belongs to it. One whose owner has ended belongs to the next shell that uses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from synaptic.cluster.pool import Pool
from synaptic.errors import EngineError
from synaptic.events import Bus, Noticed
from synaptic.planning.plan import Plan
from synaptic.process.child import Patience, State
from synaptic.process.coordinator import Coordinator, command_line, new_entry, spec_of
from synaptic.process.coordinator_entry import Entry, Process, alike, same
from synaptic.process.coordinator_ledger import CoordinatorLedger, in_use
from synaptic.process.failed_starts import FailedStarts
from synaptic.process.install import Engines
from synaptic.process.llama_log import is_final
from synaptic.process.relayed import Relayed
from synaptic.results import plural

Tuning = tuple[Patience, int | None]  # how long to wait, and how many threads


class Coordinators:
    """`tuning()` and `relayed()` are asked before each start; `stays()`: whether this session lasts, and so may own what others left."""

    def __init__(
        self,
        engines: Engines,
        pool: Pool,
        bus: Bus,
        *,
        logs: Path,
        variables: Mapping[str, str],
        tuning: Callable[[], Tuning],
        state: Path | None = None,
        stays: Callable[[], bool] = lambda: True,
        failed: FailedStarts | None = None,
        relayed: Callable[[], Relayed] = Relayed,
    ) -> None:
        self._engines = engines
        self._pool = pool
        self._bus = bus
        self._logs = logs
        self._variables = variables
        self._tuning = tuning
        self._ledger = CoordinatorLedger(state)
        self._stays = stays
        self._failed = failed or FailedStarts()
        self._relayed = relayed
        self._by_model: dict[str, Coordinator] = {}

    def all(self) -> list[Coordinator]:
        return list(self._by_model.values())

    def up(self) -> list[Coordinator]:
        return [coordinator for coordinator in self.all() if coordinator.child.pid]

    def ours(self) -> list[Coordinator]:
        """Those that are up and end with this session."""
        return [coordinator for coordinator in self.up() if coordinator.entry.is_ours]

    def of(self, model: str | None) -> Coordinator:
        """The coordinator of a model; of None, the newest. Raises EngineError when there is none."""
        name = next(reversed(self._by_model), None) if model is None else model
        if name in self._by_model:
            return self._by_model[name]
        known = ", ".join(self._by_model)
        hint = f"there are: {known}" if known else f"try: coordinator start {name or 'MODEL'}"
        raise EngineError(f"no coordinator runs {name}" if name else "no coordinator runs", hint=hint)

    def look(self) -> None:
        """Find what other programs of ours run, or have left running. Asks nobody; needs a running loop when there are some."""
        entries = self._ledger.entries()
        for entry in entries:
            known = self._by_model.get(entry.plan.model.name)
            if known and known.key == entry.key:
                known.follow(entry)
            elif entry.process and not (known and known.entry.is_ours and known.child.pid):
                self._sight(entry)
        for known in self.all():  # what another program stopped is no longer of interest here
            if known.state is State.STOPPED and not known.entry.is_ours:
                self._by_model.pop(known.plan.model.name, None)

    async def ensure(self, plan: Plan) -> Coordinator:
        """The coordinator for exactly this plan, ready: one that runs already, or a new one.

        Another one on the same model or workers is stopped first; EngineError if it belongs to another program.
        """
        name = plan.model.name
        coordinator = self._by_model.get(name)
        if coordinator and coordinator.is_proven and self._serves(coordinator, plan) and not _is_left(coordinator):
            self._tell_whose(coordinator)
            return coordinator
        patience, _ = self._tuning()
        async with self._ledger.turn(name, patience.start, lambda: self._bus.work(f"waiting for {name}: another shell starts or stops it")):
            self.look()
            coordinator = self._by_model.get(name)
            if coordinator and await self._is_usable(coordinator, plan):
                return self._used(coordinator)
            if coordinator and self._is_busy_alike(coordinator, plan):
                return self._used(coordinator)
            return await self._start(plan)

    async def stop(self, model: str | None = None) -> list[str]:
        """Stop one or all, whoever started them; the names of those that ran."""
        self.look()
        return await self._stop([self.of(model)] if model else self.all())

    async def close(self) -> None:
        """The end of this session: what is ours ends with it, the rest runs on."""
        await self._stop(self.ours())
        self.let_go()

    def let_go(self) -> None:
        """Leave them running and forget them."""
        for coordinator in self.all():
            coordinator.let_go()

    def try_again(self, model: str) -> None:
        """The user wants it, however often it has failed."""
        self._failed.forget(model)

    async def _stop(self, chosen: list[Coordinator]) -> list[str]:
        running = [coordinator for coordinator in chosen if coordinator.child.pid]
        await asyncio.gather(*(self._stop_one(coordinator) for coordinator in running))
        for coordinator in chosen:
            self._forget(coordinator)
        return [coordinator.plan.model.name for coordinator in running]

    async def _stop_one(self, coordinator: Coordinator) -> None:
        with self._ledger.turn_if_free(coordinator.plan.model.name):
            await coordinator.stop()

    def _forget(self, coordinator: Coordinator) -> None:
        if self._by_model.get(coordinator.plan.model.name) is coordinator:
            del self._by_model[coordinator.plan.model.name]

    def _sight(self, entry: Entry) -> None:
        if known := self._by_model.pop(entry.plan.model.name, None):
            known.let_go()
        patience, _ = self._tuning()
        argv = (entry.process.executable,) if entry.process else ()
        coordinator = self._by_model[entry.plan.model.name] = self._make(entry, argv, patience)
        coordinator.watch()
        if not entry.owner.is_alive and self._stays():
            coordinator.is_told = True
            text = (
                f"{entry.plan.model.name} is still up, left by process {entry.owner.pid}; the next prompt uses it, coordinator stop ends it"
            )
            self._bus.publish(Noticed(text=text))

    def _serves(self, coordinator: Coordinator, plan: Plan) -> bool:
        return coordinator.state is State.READY and same(coordinator.plan, plan)

    def _is_busy_alike(self, coordinator: Coordinator, plan: Plan) -> bool:
        """Whether it answers, and differs in its split or slots only: several answers that go on see other free memory each."""
        return coordinator.is_proven and coordinator.state is State.READY and coordinator.is_busy and alike(coordinator.plan, plan)

    async def _is_usable(self, coordinator: Coordinator, plan: Plan) -> bool:
        """Whether it may answer for `plan`. One that does not answer any more is ended."""
        if not coordinator.child.pid or not same(coordinator.plan, plan) or self._ledger.was_stopped(coordinator.entry):
            return False
        if coordinator.state is State.STARTING:  # whoever started it has ended, or it would be its turn
            try:
                await coordinator.ensure_ready()
            except EngineError:
                return False
        if coordinator.is_proven or await coordinator.proves():
            return True
        self._bus.publish(Noticed(text=f"{plan.model.name} was found running, but does not answer: ending it", attention=True))
        await coordinator.stop()
        return False

    def _used(self, coordinator: Coordinator) -> Coordinator:
        if _is_left(coordinator) and self._stays():
            coordinator.belong_to(Process.of_us())
        else:
            self._tell_whose(coordinator)
        return coordinator

    def _tell_whose(self, coordinator: Coordinator) -> None:
        if not coordinator.is_told and coordinator.entry.is_elsewhere:
            coordinator.is_told = True
            owner = coordinator.entry.owner.pid
            self._bus.publish(
                Noticed(text=f"{coordinator.plan.model.name} is run by process {owner}; it is shared, and stays when you leave")
            )

    async def _start(self, plan: Plan) -> Coordinator:
        name = plan.model.name
        if wait := self._failed.wait(plan):
            with self._bus.work(f"{name} failed to start; trying again in {wait:.0f} s"):
                await asyncio.sleep(wait)
        await self._make_room(plan)
        coordinator = self._new(plan)
        self._ledger.claim(coordinator.entry)
        self._by_model[name] = coordinator
        try:
            await coordinator.ensure_ready()
        except EngineError as error:
            if coordinator.state is State.FAILED:
                self._failed.add(plan, str(error), is_final=is_final(coordinator.child.last_words))
            raise
        finally:
            if not coordinator.entry.process:  # it never ran
                self._ledger.erase(coordinator.entry)
        self._failed.forget(name)
        return coordinator

    async def _make_room(self, plan: Plan) -> None:
        """A worker serves one coordinator at a time: a second one would hang, silently, before its port opens."""
        for other in self.all():
            same_model = other.plan.model.name == plan.model.name
            shared = set(other.plan.workers) & set(plan.workers)
            if not same_model and not shared:
                continue
            if other.child.pid:
                self._check_may_end(other, "" if same_model else str(min(shared)))
                if not same_model:
                    self._bus.publish(Noticed(text=f"stopping {other.plan.model.name} to free its workers"))
            await other.stop()
            self._forget(other)

    def _check_may_end(self, other: Coordinator, worker: str) -> None:
        """`worker`: for which it would have to go; empty: for another plan of its own model. Raises EngineError."""
        if other.entry.is_elsewhere and not self._ledger.was_stopped(other.entry):
            raise _refusal(other, worker)
        if other.is_busy:
            raise EngineError(f"{other.plan.model.name} is answering on these workers", hint="wait for it, or press Ctrl-C there")

    def _new(self, plan: Plan) -> Coordinator:
        patience, threads = self._tuning()
        program = self._engines.require("llama-server").path
        entry, words = new_entry(plan, self._logs, Process.of_us()), command_line(program, plan, threads)
        if (relayed := self._relayed()).is_for(plan.workers):
            words = (*relayed.words(entry.log), *words)
        return self._make(entry, words, patience)

    def _make(self, entry: Entry, argv: tuple[str, ...], patience: Patience) -> Coordinator:
        spec = spec_of(entry, argv, self._variables)
        return Coordinator(entry, spec, bus=self._bus, pool=self._pool, ledger=self._ledger, patience=patience)


def _is_left(coordinator: Coordinator) -> bool:
    """Nobody owns it any more."""
    return not coordinator.entry.owner.is_alive


def _refusal(other: Coordinator, worker: str) -> EngineError:
    """What another program runs is not ours to stop, unless the user says so."""
    if worker:
        return in_use(worker, other.entry)
    plan = other.plan
    held = (
        f"{plural(len(plan.workers), 'worker')}, {plan.context} tokens of context" if plan.workers else f"{plan.context} tokens of context"
    )
    return EngineError(
        f"{plan.model.name} is run by process {other.entry.owner.pid} with another plan ({held})",
        hint=f"coordinator restart {plan.model.name} takes it over",
    )
