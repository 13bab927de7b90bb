"""This machine and the workers, as planning sees them at this moment."""

from __future__ import annotations

from collections.abc import Container, Sequence

import psutil

from synaptic.cluster.backend import Backend
from synaptic.discovery.interfaces import own_addresses
from synaptic.planning.machine import HERE, Machine, machines_of
from synaptic.planning.speeds import Speed, Speeds


def machines_now(workers: Sequence[Backend], speeds: Speeds) -> tuple[Machine, list[Machine]]:
    """This machine, and the ready `workers` in their order. Blocks on a small file and on the system."""
    memory = psutil.virtual_memory()
    own = set(map(str, own_addresses())) if workers else set()
    return Machine(None, memory.available), machines_of(
        workers, speeds.all() if workers else {}, own=own, available=memory.available, total=memory.total
    )


def dllama_machines_now(workers: Sequence[Backend], speeds: Speeds) -> list[Machine]:
    """distributed-llama workers: of their memory is known that of this machine, and what ours grant us. Blocks on a small file."""
    if not workers:
        return []
    available, own, known = psutil.virtual_memory().available, set(map(str, own_addresses())), speeds.all()
    return [_dllama_machine(worker, known.get(worker.endpoint), own, available) for worker in workers]


def _dllama_machine(worker: Backend, speed: Speed | None, own: Container[str], available: int) -> Machine:
    if worker.endpoint.is_loopback or worker.endpoint.host in own:
        return Machine(worker.endpoint, available, speed, memory=HERE)
    latency = (worker.latency_ms or 0.0) / 1000 / 2  # of a connection and the first answer: two round trips
    free = speed.memory if speed else None  # the original's says nothing of it
    return Machine(worker.endpoint, free, speed, speed.round_trip if speed else latency)
