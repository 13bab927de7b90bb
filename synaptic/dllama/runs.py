"""Which worker has which layers. Pure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from synaptic.dllama.wire import Peer


@dataclasses.dataclass(frozen=True)
class Run:
    """The layers `first` up to `last`, without it; `worker` None: here."""

    worker: Peer | None
    first: int
    last: int


def spread(layers: int, speeds: Sequence[float], most: Sequence[int] | None = None) -> list[int]:
    """
    How many layers each gets: in proportion to its speed, so that batches that follow each other do not queue up.

    `most`: layers that each has room for. ValueError when that is not enough.

    >>> spread(10, [3, 1, 1])
    [6, 2, 2]
    >>> spread(10, [3, 1, 1], most=[4, 9, 9])
    [4, 3, 3]
    """
    counts = [0] * len(speeds)
    for _ in range(layers):
        able = [index for index, count in enumerate(counts) if most is None or count < most[index]]
        if not able:
            raise ValueError(f"there is room for {sum(counts)} of {layers} layers")
        counts[min(able, key=lambda index: (counts[index] + 1) / speeds[index])] += 1
    return counts


def runs_of(workers: Sequence[Peer | None], counts: Sequence[int]) -> tuple[Run, ...]:
    """In this order; who gets no layers gets no run."""
    borders = list(itertools.accumulate(counts, initial=0))
    return tuple(Run(worker, borders[i], borders[i + 1]) for i, worker in enumerate(workers) if counts[i])
