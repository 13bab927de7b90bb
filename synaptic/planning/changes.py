"""What the user could change, each proven by placing again. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from synaptic.planning.costmodel import Prediction
from synaptic.planning.filling import RESERVE, Demand
from synaptic.planning.machine import Machine
from synaptic.results import GIB, gib

LEAST_CONTEXT, MOST_SLOTS = 512, 4


class Placed(Protocol):
    @property
    def fits(self) -> bool: ...
    @property
    def spare_bytes(self) -> int: ...
    @property
    def missing_bytes(self) -> int: ...
    @property
    def prediction(self) -> Prediction: ...


Again = Callable[[Demand, Sequence[Machine]], Placed]


@dataclasses.dataclass(frozen=True)
class Alternative:
    change: str
    effect: str


def alternatives(demand: Demand, machines: Sequence[Machine], found: Placed, again: Again) -> tuple[Alternative, ...]:
    return tuple(_more(demand, machines, found, again) if found.fits else _smaller(demand, machines, found, again))


def _smaller(demand: Demand, machines: Sequence[Machine], found: Placed, again: Again) -> Iterator[Alternative]:
    """Each that makes it fit by itself: the longest context, the most slots, the smallest worker."""
    shorter = [demand.context >> halvings for halvings in range(1, 12) if demand.context >> halvings >= LEAST_CONTEXT]
    contexts = ((f"--ctx {context}", dataclasses.replace(demand, context=context), machines) for context in shorter)
    slots = ((f"--parallel {slots}", dataclasses.replace(demand, slots=slots), machines) for slots in range(demand.slots - 1, 0, -1))
    workers = ((f"one more worker with {gib(size)} free", demand, [*machines, _worker(size)]) for size in _sizes(demand, found))
    quantized = [("config set kv_type q8_0", dataclasses.replace(demand, kv_type="q8_0"), machines)] if demand.kv_type == "f16" else []
    for changes in (contexts, slots, workers, iter(quantized)):
        tried = ((change, again(demand, machines)) for change, demand, machines in changes)
        if first := next(((change, placed) for change, placed in tried if placed.fits), None):
            yield Alternative(first[0], f"fits with {gib(first[1].spare_bytes)} to spare")


def _sizes(demand: Demand, found: Placed) -> list[int]:
    """Whole GiB, from what is missing upwards: a worker also needs room to compute."""
    least = -(-(found.missing_bytes + demand.compute + RESERVE // 2) // GIB)
    return [(least + more) * GIB for more in range(4)]


def _worker(free: int) -> Machine:
    return Machine(None, free, memory="one more worker")


def _more(demand: Demand, machines: Sequence[Machine], found: Placed, again: Again) -> Iterator[Alternative]:
    """What else would fit: answers at the same time, for several users together."""
    if demand.slots >= MOST_SLOTS:
        return
    placed = again(dataclasses.replace(demand, slots=MOST_SLOTS), machines)
    gain = placed.prediction.expected / max(found.prediction.expected, 1e-9) - 1
    if placed.fits and gain > 0:
        alone = placed.prediction.expected / MOST_SLOTS / max(found.prediction.expected / demand.slots, 1e-9) - 1
        yield Alternative(
            f"--parallel {MOST_SLOTS}", f"{MOST_SLOTS} answers at once get {1 + gain:.1f} times the tokens together, each {alone:+.0%}"
        )
