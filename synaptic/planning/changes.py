"""What the user could change, each proven by placing again. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from synaptic.planning.costmodel import Prediction
from synaptic.planning.filling import RESERVE, Load
from synaptic.planning.machine import Machine
from synaptic.results import gib

GIB = 1 << 30
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


Again = Callable[[Load, Sequence[Machine]], Placed]


@dataclasses.dataclass(frozen=True)
class Alternative:
    change: str
    effect: str


def alternatives(load: Load, machines: Sequence[Machine], found: Placed, again: Again) -> tuple[Alternative, ...]:
    return tuple(_more(load, machines, found, again) if found.fits else _smaller(load, machines, found, again))


def _smaller(load: Load, machines: Sequence[Machine], found: Placed, again: Again) -> Iterator[Alternative]:
    """Each that makes it fit by itself: the longest context, the most slots, the smallest worker."""
    shorter = [load.context >> halvings for halvings in range(1, 12) if load.context >> halvings >= LEAST_CONTEXT]
    contexts = ((f"--ctx {context}", dataclasses.replace(load, context=context), machines) for context in shorter)
    slots = ((f"--parallel {slots}", dataclasses.replace(load, slots=slots), machines) for slots in range(load.slots - 1, 0, -1))
    workers = ((f"one more worker with {gib(size)} free", load, [*machines, _worker(size)]) for size in _sizes(load, found))
    quantized = [("config set kv_type q8_0", dataclasses.replace(load, kv_type="q8_0"), machines)] if load.kv_type == "f16" else []
    for changes in (contexts, slots, workers, iter(quantized)):
        tried = ((change, again(load, machines)) for change, load, machines in changes)
        if first := next(((change, placed) for change, placed in tried if placed.fits), None):
            yield Alternative(first[0], f"fits with {gib(first[1].spare_bytes)} to spare")


def _sizes(load: Load, found: Placed) -> list[int]:
    """Whole GiB, from what is missing upwards: a worker also needs room to compute."""
    least = -(-(found.missing_bytes + load.compute + RESERVE // 2) // GIB)
    return [(least + more) * GIB for more in range(4)]


def _worker(free: int) -> Machine:
    return Machine(None, free, memory="one more worker")


def _more(load: Load, machines: Sequence[Machine], found: Placed, again: Again) -> Iterator[Alternative]:
    """What else would fit: answers at the same time, for several users together."""
    if load.slots >= MOST_SLOTS:
        return
    placed = again(dataclasses.replace(load, slots=MOST_SLOTS), machines)
    gain = placed.prediction.expected / max(found.prediction.expected, 1e-9) - 1
    if placed.fits and gain > 0:
        alone = placed.prediction.expected / MOST_SLOTS / max(found.prediction.expected / load.slots, 1e-9) - 1
        yield Alternative(
            f"--parallel {MOST_SLOTS}", f"{MOST_SLOTS} answers at once get {1 + gain:.1f} times the tokens together, each {alone:+.0%}"
        )
