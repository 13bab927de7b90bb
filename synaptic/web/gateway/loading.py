"""
Models on their way into memory: each once, however many clients ask for it, and none stops because a client left.

A client waits a while, and is then told how far it is and when to come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from synaptic.errors import EngineError
from synaptic.events import Event, WorkProgressed
from synaptic.models.model import BUILTIN, DLLAMA, LLAMA_CPP
from synaptic.planning.plan import Route
from synaptic.results import gib
from synaptic.web.gateway.refusal import NotNowError
from synaptic.web.gateway.routes import Routes

if TYPE_CHECKING:
    from synaptic.session import Session

PATIENCE = 20.0  # seconds: less than any client's own
SOONEST, LATEST = 1.0, 30.0  # seconds until a client shall come back
READ = 500e6  # bytes/s of a model on its way to memory, where nothing is known


class _Load:
    """`expected`: seconds, as long as nothing tells how far it is."""

    def __init__(self, name: str, task: asyncio.Task[None], expected: float) -> None:
        self.name = name
        self.task = task
        self._expected = expected
        self.began = time.monotonic()
        self.share: float | None = None
        self.told = ""

    def hear(self, event: Event) -> None:
        if isinstance(event, WorkProgressed) and event.what.startswith(f"{self.name} loading") and event.done is not None and event.total:
            self.share = event.done / event.total
            done, total = (gib(int(each)) if event.unit == "bytes" else f"{each:g}" for each in (event.done, event.total))
            self.told = f": {done} of {total}{'' if event.unit == 'bytes' else f' {event.unit}'}"

    def not_now(self) -> NotNowError:
        took = time.monotonic() - self.began
        left = (took / self.share if self.share else self._expected) - took
        return NotNowError(f"{self.name} is loading{self.told}, {took:.0f} s so far", min(max(left, SOONEST), LATEST))


class Loading:
    """`patience`: how long a client waits, in seconds."""

    def __init__(self, session: Session, routes: Routes, patience: float = PATIENCE) -> None:
        self._session = session
        self._routes = routes
        self._patience = patience
        self._loads: dict[str, _Load] = {}

    async def ready(self, name: str) -> Route:
        """The route of a model that is in memory, or that a server has. Raises NotNowError while it is loading."""
        load = self._loads.get(name)
        if load is None:
            route = await self._routes.to(name)
            if self._routes.is_up(route):
                return route
            load = self._loads.get(name) or self._begin(name, route)
        done, _ = await asyncio.wait([load.task], timeout=self._patience)
        if not done:
            raise load.not_now()
        load.task.result()
        return await self._routes.to(name)

    async def close(self) -> None:
        tasks = [load.task for load in self._loads.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, name: str, route: Route) -> _Load:
        task = asyncio.create_task(self._load(route))
        load = self._loads[name] = _Load(route.model.name, task, route.model.bytes / READ)
        self._session.bus.tap(load.hear)

        def over(task: asyncio.Task[None]) -> None:
            self._session.bus.untap(load.hear)
            self._loads.pop(name, None)
            if not task.cancelled():
                task.exception()  # nobody may be left who would ask for it

        task.add_done_callback(over)
        return load

    async def _load(self, route: Route) -> None:
        """Once more, where the first failure left another way."""
        try:
            await self._ensure(route)
        except EngineError as error:
            if any(each.is_busy for each in self._session.coordinators.up()):
                raise NotNowError(str(error)) from error
            with contextlib.suppress(EngineError):
                other = await self._session.answering.route(route.model.name)
                if other.plan != route.plan:
                    return await self._ensure(other)
            raise

    async def _ensure(self, route: Route) -> None:
        if route.plan and route.via == LLAMA_CPP:
            await self._session.coordinators.ensure(route.plan)
        elif route.plan and route.via == DLLAMA:
            await self._session.dllama_apis.ensure(route.plan)
        elif route.plan and route.via == BUILTIN:
            await self._session.roots.ensure(self._session.dllama_routes.to_root(route.plan))
