"""
Watches over coordinators while nobody looks: llama-server's own health stays green when its workers are gone.

A worker whose port goes dark (the health rounds see it without a word to it) ends the coordinator that leans on it:
it would hang at the next token. One that rests is asked for a single token now and then: what was asked last and
the answer that it gave, so that its cache keeps the conversation, and one token more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from synaptic.engines.engine import Message, Request
from synaptic.engines.over_workers import Memory, Recent, server_of
from synaptic.errors import EngineError, RefusedError
from synaptic.events import BackendChecked, Bus, Event, Noticed
from synaptic.process.child import State
from synaptic.process.coordinator import Coordinator
from synaptic.process.coordinators import Coordinators

REST = 60.0  # seconds between two questions at least
SHARE = 200  # times what one token took: less than 1 % of its time
PATIENCE = 20.0  # seconds for one token of a coordinator that rests
_logger = logging.getLogger(__name__)


class Guard:
    """`sleep` and `clock` are in seconds."""

    def __init__(
        self,
        coordinators: Coordinators,
        bus: Bus,
        recent: Memory,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._coordinators = coordinators
        self._bus = bus
        self._recent = recent
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._asked: WeakKeyDictionary[Coordinator, tuple[float, float]] = (
            WeakKeyDictionary()
        )  # when it last answered us, and how long one token took
        self._task: asyncio.Task[None] | None = None
        self._stopping: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Once; needs a running loop."""
        if self._task is None:
            self._bus.tap(self._hear)
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is None:
            return
        self._bus.untap(self._hear)
        self._task.cancel()
        await asyncio.wait([self._task, *self._stopping])

    async def look(self) -> None:
        """Ask every coordinator of ours that has rested long enough for one token."""
        for coordinator in self._coordinators.ours():
            if coordinator.state is State.READY and not coordinator.is_busy and self._is_due(coordinator):
                await self._ask(coordinator)

    async def _run(self) -> None:
        while True:
            await self._sleep(REST / 4)
            await self.look()

    def _is_due(self, coordinator: Coordinator) -> bool:
        before, took = self._asked.setdefault(coordinator, (self._clock(), 0.0))
        recent = self._recent.get(coordinator)
        last = max(before, recent.at if recent else 0.0)
        return self._clock() - last >= max(REST, took * SHARE)

    async def _ask(self, coordinator: Coordinator) -> None:
        began = self._clock()
        try:
            async with asyncio.timeout(self._patience):
                try:
                    await self._one_token(coordinator, self._recent.get(coordinator))
                except RefusedError:  # what was asked last fills the context
                    await self._one_token(coordinator, None)
        except (EngineError, TimeoutError) as error:
            if not coordinator.is_busy and coordinator.state is State.READY:
                await self._end(coordinator, f"it does not answer{f' ({error})' if str(error) else ''}")
            return
        self._asked[coordinator] = (self._clock(), self._clock() - began)

    async def _one_token(self, coordinator: Coordinator, recent: Recent | None) -> None:
        request = recent.request if recent else Request((Message("user", "."),), coordinator.plan.model.name, temperature=0.0)
        stream = server_of(coordinator, self._patience).test(request, recent.written if recent else ())
        async with contextlib.aclosing(stream) as chunks:
            async for _ in chunks:
                pass

    def _hear(self, event: Event) -> None:
        if not isinstance(event, BackendChecked) or event.health != "lost":
            return
        for coordinator in self._coordinators.ours():
            if coordinator.state is State.READY and event.endpoint in coordinator.plan.workers:
                task = asyncio.create_task(self._end(coordinator, f"worker {event.endpoint} is gone"))
                self._stopping.add(task)
                task.add_done_callback(self._stopping.discard)

    async def _end(self, coordinator: Coordinator, why: str) -> None:
        coordinator.lost = why
        is_answering = coordinator.generating > 0
        _logger.warning("%s is stopped: %s", coordinator.name, why)
        await coordinator.stop()
        if not is_answering:  # else the answer tells
            self._bus.publish(
                Noticed(text=f"{coordinator.plan.model.name} was stopped: {why}. the next prompt starts it again", attention=True)
            )
