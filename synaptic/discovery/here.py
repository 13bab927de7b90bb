"""This machine and the workers, as planning sees them at this moment."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from synaptic.cluster.backend import Backend
from synaptic.discovery.interfaces import own_addresses
from synaptic.planning.machine import Machine, machines_of
from synaptic.planning.speeds import Speeds


def machines_now(workers: Sequence[Backend], speeds: Speeds) -> tuple[Machine, list[Machine]]:
    """This machine, and the ready `workers` in their order. Blocks on a small file and on the system."""
    memory = psutil.virtual_memory()
    own = set(map(str, own_addresses())) if workers else set()
    return Machine(None, memory.available), machines_of(
        workers, speeds.all() if workers else {}, own=own, available=memory.available, total=memory.total
    )
