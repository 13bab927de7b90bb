"""
How many answers a coordinator writes at the same time. Pure.

Each slot has a KV cache of its own: what more slots take in memory must not push layers to another machine, nor make
a single answer slower. Only a number that the user wants may do that.
"""

from __future__ import annotations

from collections.abc import Sequence

from synaptic.errors import EngineError
from synaptic.models.model import Model
from synaptic.planning.costmodel import predict
from synaptic.planning.filling import Demand
from synaptic.planning.machine import Machine
from synaptic.planning.placement import Placement, place
from synaptic.planning.shape import Shape
from synaptic.results import gib, plural

MOST_CHOSEN = 4  # nobody said how many: enough for a few users, and all that most memories hold
COSTS_NOTHING = 1.02  # times what a token of a single answer takes


def place_slots(
    shape: Shape,
    machines: Sequence[Machine],
    *,
    slots: int | None,
    most: int,
    context: int,
    kv_type: str,
    must_use_all: bool = False,
    rather_fewer: bool = False,
) -> tuple[Placement, int]:
    """
    A placement and its slots: `slots` of them, or, of None, as many as cost nothing, up to `most`.

    `rather_fewer`: than that it does not fit. What does not fit comes back as the placement says it.
    """

    def at(count: int) -> Placement:
        return place(shape, machines, context=context, slots=count, must_use_all=must_use_all, kv_type=kv_type)

    def step(placed: Placement) -> float:
        return predict(shape, placed.shares, machines, context, kv_type=kv_type).step

    if slots:
        tried = ((at(count), count) for count in (range(slots, 0, -1) if rather_fewer else (slots,)))
        wanted = at(slots), slots
        return next((each for each in tried if each[0].fits), wanted)
    one = at(1)
    for count in range(most if one.fits else 1, 1, -1):
        more = at(count)
        if more.fits and _holders(more) == _holders(one) and step(more) <= step(one) * COSTS_NOTHING:
            return more, count
    return one, 1


def slots_here(
    model: Model, shape: Shape | None, free: int | None, *, slots: int | None, most: int, context: int, kv_type: str, rather_fewer: bool
) -> int:
    """The same on this machine alone, of which `free` bytes are free. EngineError: it has no memory for so many."""
    if shape is None or free is None or (slots or most) == 1:
        return slots or 1
    demand = Demand(shape, context, 1, kv_type)
    room = free - model.bytes - demand.compute
    fits = max(1, room // max(demand.kv(shape.layers), 1))
    if slots is None:
        return min(most, fits)
    if slots > fits and not rather_fewer:
        need = model.bytes + demand.compute + slots * demand.kv(shape.layers)
        raise EngineError(
            f"{model.name} with {plural(slots, 'slot')} of {context} tokens needs {gib(need)} and this machine has {gib(free)} free",
            hint=f"try: config set parallel {fits}, or a smaller context",
        )
    return min(slots, fits)


def _holders(placed: Placement) -> set[object]:
    return {share.endpoint for share in placed.shares if share.layers}
