"""Which of several workers computes wrongly: by leaving each one out, and then by asking each alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence

from synaptic.endpoint import Endpoint

Check = Callable[[tuple[Endpoint, ...]], Awaitable[bool | None]]


@dataclasses.dataclass(frozen=True)
class Blamed:
    """`is_certain`: the others are right without them, or they are wrong alone; else it is one or more of these."""

    workers: tuple[Endpoint, ...]
    is_certain: bool


async def culprits(workers: Sequence[Endpoint], is_right: Check) -> Blamed:
    """`workers` together were wrong. `is_right` says whether some of them are; None: they cannot hold the model."""
    if len(workers) == 1:
        return Blamed(tuple(workers), is_certain=True)
    for worker in workers:  # one alone is the usual case: then all the others are right
        if await is_right(tuple(each for each in workers if each != worker)):
            return Blamed((worker,), is_certain=True)
    wrong = [worker for worker in workers if await is_right((worker,)) is False]
    return Blamed(tuple(wrong or workers), is_certain=bool(wrong))
