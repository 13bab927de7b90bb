"""How much of its model a child has read: the mapped file grows into the process's memory, as it is sent on."""

from __future__ import annotations

import psutil

from synaptic.events import Work
from synaptic.models.model import Model


def resident_bytes(pid: int | None) -> int:
    try:
        return psutil.Process(pid).memory_info().rss if pid else 0
    except psutil.Error:
        return 0


def tell_reading(pid: int | None, model: Model, work: Work | None) -> int:
    """`work` is told, in layers. What comes back changes while it goes on."""
    resident = resident_bytes(pid)
    if work and resident:
        work.update(done=int(model.layers * min(resident / max(model.bytes, 1), 1.0)), total=model.layers, unit="layers")
    return resident >> 20
