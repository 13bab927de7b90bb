"""
How many layers fit on each machine, in their order. Pure; sizes in bytes.

    waterfill   each machine at least one layer; the fastest as many as it can hold, those about as fast by free memory
    first_fit   as many as fit on the first, then on the second …: the last word on whether it fits at all
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import groupby

from synaptic.planning.costmodel import bandwidth
from synaptic.planning.machine import Machine, Share
from synaptic.planning.shape import Shape

SAME = 1.05  # as fast as another whose memory is faster by no more than this
RESERVE, RESERVED_PART = 1 << 30, 20  # bytes of a device that stay free: 1 GiB, or a twentieth of a small one


@dataclasses.dataclass(frozen=True)
class Demand:
    """What is to be held. `context`: tokens of each slot."""

    shape: Shape
    context: int
    slots: int = 1
    kv_type: str = "f16"

    @property
    def compute(self) -> int:
        return self.shape.compute_bytes(self.context)

    def kv(self, layers: int) -> int:
        return self.shape.kv_bytes(layers, self.context, self.slots, self.kv_type)

    def need(self, machine: Machine, first: int, count: int) -> int:
        """Of layers first … first + count - 1 there."""
        scratch = self.compute * max(1, len(machine.devices))
        return self.shape.weights(first, first + count) + self.kv(count) + scratch + reserve(machine)


def reserve(machine: Machine) -> int:
    return min(RESERVE, (machine.free or 0) // RESERVED_PART)


def agreed(machines: Sequence[Machine]) -> list[Machine]:
    """Those who share a memory say the same of it: the least that one of them says."""
    free: dict[str, int] = {}
    for machine in machines:
        if machine.free is not None:
            free[_place_of(machine)] = max(0, min(machine.free, free.get(_place_of(machine), machine.free)))
    return [dataclasses.replace(machine, free=free.get(_place_of(machine))) for machine in machines]


def by_speed(machines: Sequence[Machine], shape: Shape) -> list[Machine]:
    """
    Fastest memory first, the nearest of those about as fast; this machine last: llama.cpp takes its workers first.
    """
    ranked = sorted(machines, key=lambda machine: -bandwidth(machine, shape))
    levels = _levels(ranked, shape)
    order = sorted(range(len(ranked)), key=lambda each: (ranked[each].endpoint is None, levels[each], ranked[each].round_trip))
    return [ranked[each] for each in order]


def waterfill(demand: Demand, machines: Sequence[Machine]) -> list[int] | None:
    """Layers of each of `machines`, which are in the order of `by_speed`. None: not all of them can hold one, or they cannot hold all."""
    most = _capacities(demand, machines)
    counts, rest = [1] * len(machines), demand.shape.layers - len(machines)
    if rest < 0 or min(most) < 1 or sum(most) < demand.shape.layers:
        return None
    output = demand.shape.output_bytes / max(1.0, sum(demand.shape.layer_bytes) / demand.shape.layers + demand.kv(1))
    held = [output if number == len(machines) - 1 else 0.0 for number in range(len(machines))]  # beside its layers
    weights = [_alone(machine, machines) or 1 for machine in machines]
    levels = _levels(machines, demand.shape)
    for _, level in groupby(sorted(range(len(machines)), key=lambda each: levels[each]), key=lambda each: levels[each]):
        members = list(level)
        while rest and (able := [each for each in members if counts[each] < most[each]]):
            emptiest = min(able, key=lambda each: ((counts[each] + held[each] + 0.5) / weights[each], each))
            counts[emptiest] += 1
            rest -= 1
    return counts


def first_fit(demand: Demand, machines: Sequence[Machine], *, least: int = 0) -> list[int]:
    """Layers of each; the sum is less than there are where they do not all fit. `least`: left for each of the later ones."""
    left, counts, first = _memory(machines), [], 0
    for number, machine in enumerate(machines):
        most = demand.shape.layers - first - least * (len(machines) - number - 1)
        count = _largest(demand, machine, first, most, left[_place_of(machine)])
        if count:
            left[_place_of(machine)] -= demand.need(machine, first, count)
        counts.append(count)
        first += count
    return counts


def fits_in(demand: Demand, machines: Sequence[Machine], counts: Sequence[int]) -> bool:
    """`counts`: layers of each; machines that share a memory are counted together."""
    left, first = _memory(machines), 0
    for machine, count in zip(machines, counts, strict=True):
        left[_place_of(machine)] -= demand.need(machine, first, count)
        first += count
    return all(free >= 0 for free in left.values())


def shares_of(demand: Demand, machines: Sequence[Machine], counts: Sequence[int]) -> tuple[Share, ...]:
    """What `counts` layers take of each machine, whether it has that or not."""
    shares, first = [], 0
    for machine, count in zip(machines, counts, strict=True):
        compute = demand.compute * max(1, len(machine.devices)) if count else 0
        shares.append(Share(machine.endpoint, count, demand.shape.weights(first, first + count), demand.kv(count), compute, first))
        first += count
    return tuple(shares)


def tensor_split(machines: Sequence[Machine], counts: Sequence[int]) -> tuple[float, ...]:
    """
    Whole numbers that add up to the layers and the output, so llama.cpp's borders fall exactly between layers.

    It gives layer n to the first device whose running sum, as a part of the whole, is above n / (layers + 1).
    """
    units = [count + (number == len(counts) - 1) for number, count in enumerate(counts)]
    parts = [part for machine, unit in zip(machines, units, strict=True) for part in _over_devices(machine, unit)]
    return tuple(map(float, parts)) if len(parts) > 1 else ()


def available(machines: Sequence[Machine]) -> int:
    """Memory that several share counts once; what is not known, not at all."""
    return sum(int(free) for free in _memory(machines).values() if free != math.inf)


def _levels(ranked: Sequence[Machine], shape: Shape) -> list[int]:
    """Machines about as fast as one another, 0 for the fastest."""
    speeds = sorted({bandwidth(machine, shape) for machine in ranked}, reverse=True)
    level: dict[float, int] = {}
    leader, number = speeds[0], 0
    for speed in speeds:
        if leader > speed * SAME:
            leader, number = speed, number + 1
        level[speed] = number
    return [level[bandwidth(machine, shape)] for machine in ranked]


def _capacities(demand: Demand, machines: Sequence[Machine]) -> list[int]:
    """Layers that each can surely hold, whichever they are."""
    largest = max(demand.shape.layer_bytes, default=0) + demand.kv(1)
    sizes = []
    for number, machine in enumerate(machines):
        free = _alone(machine, machines)
        room = demand.shape.layers * largest if free is None else free - demand.compute * max(1, len(machine.devices)) - reserve(machine)
        if free is not None and number == len(machines) - 1:
            room -= demand.shape.output_bytes
        sizes.append(min(demand.shape.layers, max(0, room) // max(largest, 1)))
    return sizes


def _alone(machine: Machine, machines: Sequence[Machine]) -> int | None:
    """Its part of the memory that it shares with others. None: not known."""
    free = _memory(machines)[_place_of(machine)]
    return None if free == math.inf else int(free) // sum(_place_of(each) == _place_of(machine) for each in machines)


def _memory(machines: Sequence[Machine]) -> dict[str, float]:
    return {_place_of(machine): math.inf if machine.free is None else machine.free for machine in machines}


def _place_of(machine: Machine) -> str:
    return machine.memory or machine.name


def _largest(demand: Demand, machine: Machine, first: int, most: int, free: float) -> int:
    """The need grows with each layer."""
    low, high = 0, max(0, most)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if demand.need(machine, first, middle) <= free else (low, middle - 1)
    return low


def _over_devices(machine: Machine, units: int) -> list[int]:
    if not machine.devices:
        return [units]
    whole, given, seen = max(sum(machine.devices), 1), 0, 0
    parts = []
    for free in machine.devices:
        seen += free
        parts.append(round(units * seen / whole) - given)
        given += parts[-1]
    return parts
