"""What the cost model expects of a plan as it stands: of a coordinator that is up, or about to start. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from synaptic.planning.costmodel import PROMPT, Prediction, efficiency, predict
from synaptic.planning.filling import Demand, shares_of
from synaptic.planning.machine import Machine, Share
from synaptic.planning.plan import Plan
from synaptic.planning.shape import Shape
from synaptic.results import Json


@dataclasses.dataclass(frozen=True)
class Stage:
    """A machine's part: `bytes` of weights that lie there, and `read_bytes` of them for each token."""

    machine: str
    layers: int
    bytes: int
    read_bytes: float


@dataclasses.dataclass(frozen=True)
class Expectation:
    """`machines` in the order of `shares`. `plan.context` is that of one slot."""

    plan: Plan
    shape: Shape
    shares: tuple[Share, ...]
    machines: tuple[Machine, ...]

    @property
    def stages(self) -> tuple[Stage, ...]:
        at = {machine.endpoint: machine for machine in self.machines}
        return tuple(
            Stage(at[each.endpoint].name, each.layers, each.weight_bytes, self.shape.read_per_token(each.first, each.first + each.layers))
            for each in self.shares
            if each.layers
        )

    def demand(self, slots: int) -> Demand:
        return Demand(self.shape, self.plan.context, slots, self.plan.kv_type)

    def predicted(self, *, at_once: int = 1, prompt: int = PROMPT) -> Prediction:
        """With so many answers at work at the same time, each to a prompt of so many tokens."""
        return predict(
            self.shape, self.shares, self.machines, self.plan.context, slots=at_once, kv_type=self.plan.kv_type, prompt=max(prompt, 1)
        )

    def as_json(self) -> Json:
        """What tells the terms' origin: the stages, and the part of a memory's bandwidth that such weights get."""
        stages: list[Json] = [dataclasses.asdict(stage) for stage in self.stages]
        return {"stages": stages, "efficiency": efficiency(self.shape)}


def expected(plan: Plan, shape: Shape, machines: Sequence[Machine]) -> Expectation | None:
    """`machines`: all that are known, with this one. None: one of the plan's is not among them, or its split is not known."""
    at = {machine.endpoint: machine for machine in machines}
    wanted = plan.workers or (None,)
    if not shape.layers or any(endpoint not in at for endpoint in wanted):
        return None
    used = tuple(at[endpoint] for endpoint in wanted)
    counts = [shape.layers] if len(used) == 1 else plan.layers([max(1, len(machine.devices)) for machine in used])
    if counts is None or sum(counts) != shape.layers:
        return None
    shares = shares_of(Demand(shape, plan.context, plan.slots, plan.kv_type), used, counts)
    return Expectation(plan, shape, shares, used)
