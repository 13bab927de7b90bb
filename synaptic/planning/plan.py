"""What would run where. Values only."""

from __future__ import annotations

import dataclasses

from synaptic.endpoint import Endpoint
from synaptic.models.model import Model
from synaptic.planning.costmodel import Prediction
from synaptic.results import Json

DEFAULT_KV = "f16"
LONGEST_DEFAULT_CONTEXT = 8192  # tokens; more costs KV memory that few conversations use


@dataclasses.dataclass(frozen=True)
class Plan:
    """
    A model, the workers that hold it (none: this machine alone), and the context of one slot, in tokens.

    `tensor_split`: how many layers each worker holds, the output counted as one; empty: the engine decides.
    """

    model: Model
    workers: tuple[Endpoint, ...]
    context: int
    slots: int = 1
    tensor_split: tuple[float, ...] = ()
    kv_type: str = DEFAULT_KV  # of the KV cache


@dataclasses.dataclass(frozen=True)
class Route:
    """
    Which engine, and `why`, in words the user sees.

    llama.cpp has a plan; for the others `nodes` are the URLs of the servers that may answer, best first.
    """

    via: str
    model: Model
    why: str
    plan: Plan | None = None
    nodes: tuple[str, ...] = ()
    is_forced: bool = False  # the user named the engine
    prediction: Prediction | None = None  # of one answer alone

    @property
    def backends(self) -> tuple[str, ...]:
        """Addresses: of the workers that hold the model, or of the one node that is asked."""
        if self.plan:
            return tuple(map(str, self.plan.workers))
        return tuple(url.split("://", 1)[-1] for url in self.nodes[:1])

    @property
    def where(self) -> str:
        if self.plan is None:
            return self.backends[0]
        count = len(self.plan.workers)
        return f"{count} worker{'s' if count > 1 else ''}" if count else "this machine"

    def as_json(self) -> Json:
        return {"via": self.via, "backends": list(self.backends), "why": self.why}


def context_of(model: Model, asked: int | None) -> int:
    """Tokens of one slot: what was asked, within what the model can."""
    return min(asked or LONGEST_DEFAULT_CONTEXT, model.context or LONGEST_DEFAULT_CONTEXT)
