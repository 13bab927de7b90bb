"""
A llama-server of ours that is measured, or compared with others.

While it is held it counts as busy: nobody who wants its workers ends it. Under another name than its model's it answers
nobody's prompt but ours.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator

from synaptic.errors import EngineError
from synaptic.planning.plan import Plan
from synaptic.process.coordinator import Coordinator
from synaptic.process.coordinators import Coordinators


@dataclasses.dataclass(frozen=True)
class Held:
    """`was_busy`: it was writing an answer for somebody else when it was taken."""

    coordinator: Coordinator
    url: str
    key: str | None
    was_busy: bool


def renamed(plan: Plan, suffix: str) -> Plan:
    """For a coordinator of its own."""
    return dataclasses.replace(plan, model=dataclasses.replace(plan.model, name=f"{plan.model.name}{suffix}"))


@contextlib.asynccontextmanager
async def held(coordinators: Coordinators, plan: Plan) -> AsyncIterator[Held]:
    """Loaded first, where it is not yet. Raises EngineError."""
    coordinator = await coordinators.ensure(plan)
    if not coordinator.url:
        raise EngineError(f"the coordinator of {plan.model.name} is gone", hint="try: coordinator logs")
    was_busy = coordinator.is_busy
    coordinator.generating += 1
    try:
        yield Held(coordinator, coordinator.url, coordinator.key, was_busy)
    finally:
        coordinator.generating -= 1


async def ended(coordinators: Coordinators, name: str) -> None:
    """Nothing of that name stays on the workers, whatever happened to it."""
    if any(each.plan.model.name == name for each in coordinators.all()):
        await coordinators.stop(name)
