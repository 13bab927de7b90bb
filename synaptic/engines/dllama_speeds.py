"""How fast each dllama worker multiplies: measured without a model, kept, and what the layer split follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from synaptic.cluster.backend import Backend
from synaptic.dllama.header import DllamaHeader
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError
from synaptic.planning.dllama_layers import Laid, lay
from synaptic.planning.machine import Machine
from synaptic.planning.plan import Plan
from synaptic.planning.speeds import Speed, Speeds
from synaptic.results import gib

if TYPE_CHECKING:
    from synaptic.dllama.measure import Speed as Measured


class DllamaSpeeds:
    """`machines`: workers with what is known of their speed and memory now; reads a file and the system."""

    def __init__(self, speeds: Speeds, machines: Callable[[Sequence[Backend]], list[Machine]]) -> None:
        self._speeds = speeds
        self.machines = machines
        self._one_at_a_time = asyncio.Lock()  # several on one machine would slow each other

    def known(self) -> dict[Endpoint, Speed]:
        """Reads a small file."""
        return self._speeds.all()

    async def measure(self, endpoint: Endpoint) -> Speed:
        """Of a free worker, which nobody else must use meanwhile. BackendError."""
        async with self._one_at_a_time:
            measuring = asyncio.ensure_future(asyncio.to_thread(_measured, endpoint))
            try:
                found = await asyncio.shield(measuring)  # cut off, a worker would end
            finally:
                await asyncio.wait([measuring])
        speed = Speed(found.weights, found.round_trip, measured_at=time.time(), compute=2 * found.batch_macs, memory=found.memory)
        await asyncio.to_thread(self._speeds.note, {endpoint: speed})
        return speed

    async def layers(
        self, plan: Plan, header: DllamaHeader, workers: Sequence[Backend], tell: Callable[[str], None] = lambda _: None
    ) -> tuple[int, ...]:
        """How many for each worker of the plan; those that were never measured are now. EngineError when there is no room."""
        machines = await asyncio.to_thread(self.machines, workers)
        for machine in machines:
            if machine.speed is None and machine.endpoint:
                tell(f"measuring {machine.endpoint}, which takes a few seconds and is kept")
                await self.measure(machine.endpoint)
        machines = await asyncio.to_thread(self.machines, workers)
        laid = lay(header, machines, plan.context, all_of_them=True, must_use_all=plan.model.is_shipped)
        if laid.missing:
            raise no_room(plan, laid)
        return laid.counts


def no_room(plan: Plan, laid: Laid) -> EngineError:
    hint = f"try: dllama add more workers, a smaller context, or: dllama root {plan.model.name} --split none"
    return EngineError(f"{plan.model.name} does not fit these workers: {gib(laid.missing)} missing", hint=hint)


def _measured(endpoint: Endpoint) -> Measured:
    try:
        from synaptic.dllama.measure import measure
        from synaptic.dllama.to_worker import LostWorkerError
        from synaptic.dllama.wire import Peer
    except ImportError as error:
        raise EngineError(f"measuring needs {error.name or 'numpy'}, which is not here", hint="try: engine install builtin") from error
    try:
        return measure(Peer(endpoint.host, endpoint.port))
    except LostWorkerError as error:
        raise BackendError(str(error), hint="try: dllama check") from error
