"""
Which machine holds how many layers. Pure: values in, a placement with its reason out.

A token passes through the machines one after another, so the fastest memory is filled first, and a machine that only
adds its delay is left out, where we know that it does. What is about as fast shares the work: by free memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from synaptic.endpoint import Endpoint
from synaptic.errors import EngineError
from synaptic.planning.changes import Alternative, alternatives
from synaptic.planning.costmodel import Prediction, bandwidth, predict
from synaptic.planning.filling import (
    SAME,
    Demand,
    agreed,
    available,
    by_speed,
    first_fit,
    reserve,
    shares_of,
    tensor_split,
    waterfill,
)
from synaptic.planning.machine import Machine, Share
from synaptic.planning.shape import Shape
from synaptic.results import gib, plural

__all__ = ["Alternative", "Machine", "Placement", "Share", "place"]
MOST_TRIED = 8  # machines of which each is tried to be left out
TIE = 0.02  # part of a token's time; who costs less than that is worth its memory


@dataclasses.dataclass(frozen=True)
class Placement:
    """
    `shares` in the order in which llama.cpp must be given the workers; where it does not fit, what does.

    `tensor_split`: for each device in that order its layers, and on the last one more, the output. Empty: there is
    only one, or it does not fit.
    """

    shares: tuple[Share, ...]
    tensor_split: tuple[float, ...]
    fits: bool
    need_bytes: int  # of weights, KV cache and scratch memory
    reserve_bytes: int  # stays free beside them
    available_bytes: int
    missing_bytes: int
    dropped: tuple[tuple[Endpoint | None, str], ...]
    prediction: Prediction
    why: str
    alternatives: tuple[Alternative, ...] = ()

    @property
    def spare_bytes(self) -> int:
        return max(0, self.available_bytes - self.need_bytes - self.reserve_bytes)


def place(
    shape: Shape, machines: Sequence[Machine], *, context: int, slots: int = 1, must_use_all: bool = False, kv_type: str = "f16"
) -> Placement:
    """
    Where each layer goes so that one answer comes fastest. `context`: tokens of each slot. At least one machine.
    EngineError: a model without layers.

    `must_use_all`: as many as have layers and memory, whatever it costs.
    """
    demand = Demand(shape, context, slots, kv_type)

    def again(demand: Demand, machines: Sequence[Machine]) -> Placement:
        return _place(demand, machines, must_use_all=must_use_all)

    found = again(demand, machines)
    return dataclasses.replace(found, alternatives=alternatives(demand, machines, found, again))


def _place(demand: Demand, machines: Sequence[Machine], *, must_use_all: bool) -> Placement:
    assert machines
    if not demand.shape.layers:
        raise EngineError("this model has no layers that could be placed", hint="try: model show NAME")
    ranked = by_speed(agreed(machines), demand.shape)
    options = _options(demand, [machine for machine in ranked if first_fit(demand, [machine])[0]][: demand.shape.layers])
    at_all = first_fit(demand, ranked)
    if sum(at_all) == demand.shape.layers:
        holders = [(machine, count) for machine, count in zip(ranked, at_all, strict=True) if count]
        options.append(_placement(demand, [machine for machine, _ in holders], [count for _, count in holders]))
    if not options:
        return _too_large(demand, ranked)
    best = min(option.prediction.step for option in options)
    near = [option for option in options if must_use_all or option.prediction.step <= best * (1 + TIE)]
    chosen = max(near, key=lambda option: (len(option.shares), -option.prediction.step))
    used = {share.endpoint for share in chosen.shares}
    left = [machine for machine in ranked if machine.endpoint not in used]
    return dataclasses.replace(chosen, dropped=tuple((each.endpoint, _why_dropped(demand, each, chosen, ranked)) for each in left))


def _options(demand: Demand, ranked: Sequence[Machine]) -> list[Placement]:
    """The fastest one, two, three …; and all without the one that is missed least, without two …"""
    options = [found for count in range(1, len(ranked) + 1) if (found := _filled(demand, ranked[:count]))]
    chosen = list(ranked[:MOST_TRIED])
    while len(chosen) > 1:
        fewer = [[each for each in chosen if each is not machine] for machine in chosen]
        placed = [(found, machines) for machines in fewer if (found := _filled(demand, machines))]
        if not placed:
            break
        best, chosen = min(placed, key=lambda each: each[0].prediction.step)
        options.append(best)
    return options


def _filled(demand: Demand, machines: Sequence[Machine]) -> Placement | None:
    """All of these machines hold something; None: it does not fit so. The output goes to the slowest, or to the fastest."""
    orders = [machines, [*machines[1:], machines[0]]] if len(machines) > 1 and machines[-1].endpoint else [machines]
    placed = [found for order in orders if (found := _filled_in_order(demand, order))]
    return min(placed, key=lambda found: found.prediction.step, default=None)


def _filled_in_order(demand: Demand, machines: Sequence[Machine]) -> Placement | None:
    counts = waterfill(demand, machines)
    if counts is None:
        counts = first_fit(demand, machines, least=1)
        if sum(counts) < demand.shape.layers or not all(counts):
            return None
    return _placement(demand, machines, counts)


def _placement(demand: Demand, machines: Sequence[Machine], counts: Sequence[int], *, missing: int = 0) -> Placement:
    shares = shares_of(demand, machines, counts)
    return Placement(
        shares=shares,
        tensor_split=() if missing else tensor_split(machines, counts),
        fits=not missing,
        need_bytes=sum(share.bytes for share in shares),
        reserve_bytes=sum(map(reserve, machines)),
        available_bytes=available(machines),
        missing_bytes=missing,
        dropped=(),
        prediction=predict(demand.shape, shares, machines, demand.context, slots=demand.slots, kv_type=demand.kv_type),
        why=_why(demand, machines, counts),
    )


def _too_large(demand: Demand, ranked: Sequence[Machine]) -> Placement:
    counts = first_fit(demand, ranked)
    placed = sum(counts)
    rest = demand.shape.weights(placed, demand.shape.layers) + demand.kv(demand.shape.layers - placed)
    found = _placement(demand, ranked, counts, missing=max(rest, 1))
    need = found.need_bytes + rest
    have = f"{plural(len(ranked), 'machine')} offer{'s' if len(ranked) == 1 else ''} {gib(found.available_bytes)}"
    return dataclasses.replace(found, need_bytes=need, why=f"{have}, {gib(found.missing_bytes)} too little")


def _why(demand: Demand, machines: Sequence[Machine], counts: Sequence[int]) -> str:
    layers = plural(demand.shape.layers, "layer")
    if len(machines) == 1:
        return f"{layers} on {machines[0].name}"
    speeds = [bandwidth(machine, demand.shape) for machine in machines]
    how = "the fastest as full as it may be" if max(speeds) > min(speeds) * SAME else "by free memory"
    return f"{layers} over {len(machines)} machines, {how}"


def _why_dropped(demand: Demand, machine: Machine, chosen: Placement, ranked: Sequence[Machine]) -> str:
    used = {share.endpoint for share in chosen.shares}
    together = [each for each in ranked if each.endpoint in used or each is machine]
    if len(together) > demand.shape.layers:
        return "there are more machines than layers"
    slower = _filled(demand, together)
    if slower is None:
        return "it has too little free memory"
    return f"each token would take {slower.prediction.step / chosen.prediction.step - 1:.0%} longer"
