"""What would run where. Values only."""

from __future__ import annotations

import dataclasses

from synaptic.endpoint import Endpoint
from synaptic.models.model import Model
from synaptic.results import Json

LONGEST_DEFAULT_CONTEXT = 8192  # tokens; more costs KV memory that few conversations use


@dataclasses.dataclass(frozen=True)
class Plan:
    """A model, the workers that hold it (none: this machine alone) and the context of one slot, in tokens."""

    model: Model
    workers: tuple[Endpoint, ...]
    context: int


@dataclasses.dataclass(frozen=True)
class Route:
    """Which engine, over what plan, and `why`, in words the user sees."""

    via: str
    plan: Plan
    why: str

    def as_json(self) -> Json:
        return {"via": self.via, "backends": [str(worker) for worker in self.plan.workers], "why": self.why}
