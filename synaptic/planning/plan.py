"""What would run where. Values only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import islice

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

    `tensor_split`: how many layers each device holds, the output counted as one of the last; empty: the engine decides.
    """

    model: Model
    workers: tuple[Endpoint, ...]
    context: int
    slots: int = 1
    tensor_split: tuple[float, ...] = ()
    kv_type: str = DEFAULT_KV  # of the KV cache

    def layers(self, devices: Sequence[int] | None = None) -> list[int] | None:
        """Of each worker, which lends so many `devices`; one, if that is not told. None: the split does not tell."""
        sizes = devices or [1] * len(self.workers)
        if not self.tensor_split or len(self.tensor_split) != sum(sizes):
            return None
        parts = map(round, self.tensor_split)
        counts = [sum(islice(parts, size)) for size in sizes]
        counts[-1] -= 1  # the output
        return counts


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
