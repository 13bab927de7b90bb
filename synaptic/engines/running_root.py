"""A built-in root that runs, as others see it: which worker holds which layers of its model, and how many bytes."""

from __future__ import annotations

import dataclasses

from synaptic.endpoint import Endpoint
from synaptic.planning.plan import Plan
from synaptic.process.placement import Share

HERE = "here"  # this machine, among the nodes


@dataclasses.dataclass(frozen=True)
class Rooted:
    """A plan, and how it is cut. `is_pinned`: the user loaded it so; prompts go there whatever the settings say."""

    plan: Plan
    split: str  # as planning.dllama_plan has them
    memory: int | None = None  # bytes, on this machine alone; None: what is free
    layers: tuple[int, ...] = ()  # for each worker of the plan; empty: by the speed that is measured at the start
    is_pinned: bool = dataclasses.field(default=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Held:
    """Layers `first` up to `last`, without it, or a share of them. Bytes. `from_file`: its own; it was sent no weights."""

    node: str
    first: int
    last: int
    weights: int
    cache: int
    from_file: bool = False


@dataclasses.dataclass(frozen=True)
class RunningRoot:
    """`workers`: those that are left; `held`: where its model is, empty while it loads; `detail`: how it reads from disk, if it does."""

    plan: Plan
    split: str
    state: str  # starting or ready
    generating: int  # answers
    workers: tuple[Endpoint, ...]
    held: tuple[Held, ...] = ()
    detail: str = ""

    @property
    def name(self) -> str:
        return f"root {self.plan.model.name}"

    @property
    def is_busy(self) -> bool:
        return self.generating > 0

    def shares(self) -> tuple[Share, ...]:
        """As those of a coordinator."""
        return tuple(Share(each.node, each.weights, each.cache, 0, each.last - each.first, each.from_file) for each in self.held)
