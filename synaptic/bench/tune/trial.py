"""One visit: a coordinator of its own with a candidate's configuration, measured, and ended before the next one starts."""

from __future__ import annotations

import time
from collections.abc import Callable

from synaptic.bench.coordinator import Held, ended, held, renamed
from synaptic.bench.load.asked import at_server, build_of
from synaptic.bench.load.measurement import Asking, Measurement, in_turns
from synaptic.bench.tune.values import Candidate, Objective, Visit
from synaptic.cluster.software import LLAMA_SERVER
from synaptic.errors import EngineError
from synaptic.process.coordinators import Coordinators

SUFFIX = "-tune"


class Trial:
    """`tell` hears what is done inside a visit. `build`: what the server says it was built from, once it was visited."""

    def __init__(self, coordinators: Coordinators, objective: Objective, requests: int, tell: Callable[[str], None]) -> None:
        self.build = ""
        self._coordinators = coordinators
        self._objective = objective
        self._requests = requests
        self._tell = tell
        self._name = ""

    async def visit(self, candidate: Candidate, seed: int) -> Visit:
        began = time.monotonic()
        await self.end()
        plan = renamed(candidate.plan, SUFFIX)
        self._name = plan.model.name
        self._tell("loading")
        async with held(self._coordinators, plan) as server:
            return await self._measured(server, seed, began)

    async def end(self) -> None:
        """Whatever happened: nothing of ours stays on the workers."""
        await ended(self._coordinators, self._name)

    async def _measured(self, server: Held, seed: int, began: float) -> Visit:
        self.build = self.build or await build_of(server.url, server.key)
        asked = at_server(server.url, model=self._name, key=server.key, software=LLAMA_SERVER)
        load = self._objective.load
        measurement = Measurement(Asking((load,), self._requests, 1, seed, self._objective.limits), asked, self._hear)
        await in_turns([measurement])
        point = measurement.points()[0]
        if point.why_not:
            raise EngineError(point.why_not, hint="try: bench run, to see its errors")
        return Visit(point.runs[0], time.monotonic() - began, sum(share.kv_bytes for share in server.coordinator.shares()))

    def _hear(self, what: str, done: int, of: int) -> None:
        self._tell(f"{what}, {done} of {of} requests" if of else what)
