"""Machines that can hold a part of a model, and the part that each holds. Values only; sizes in bytes, times in seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping, Sequence

from synaptic.cluster.backend import Backend, Device
from synaptic.endpoint import Endpoint
from synaptic.planning.speeds import Speed

HERE = "here"  # the memory of this machine, of which we know how much is free


@dataclasses.dataclass(frozen=True)
class Machine:
    """
    A worker, or with no endpoint the machine we are on. `free` None: not known, and taken as enough.

    Machines with the same `memory` share it: `free` is then that of all of them together. `devices`: the free memory of
    each device of a worker that lends several; llama.cpp splits over devices, not over workers.
    """

    endpoint: Endpoint | None
    free: int | None
    speed: Speed | None = None
    round_trip: float = 0.0
    memory: str | None = None
    devices: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return str(self.endpoint) if self.endpoint else "this machine"


@dataclasses.dataclass(frozen=True)
class Share:
    """Layers `first` … `first + layers - 1`; whoever has the last one also has the output."""

    endpoint: Endpoint | None
    layers: int
    weight_bytes: int
    kv_bytes: int
    compute_bytes: int
    first: int = 0

    @property
    def bytes(self) -> int:
        return self.weight_bytes + self.kv_bytes + self.compute_bytes


def machines_of(
    workers: Sequence[Backend], speeds: Mapping[Endpoint, Speed], *, own: Container[str], available: int, total: int
) -> list[Machine]:
    """
    Ready workers as machines, in their order.

    A worker that lends a CPU states all the memory of its machine as free. Where that machine is ours (`own`: the
    addresses of this one) `available` of its `total` counts instead; where two such workers share a host they share its memory.
    """
    return [_machine(worker, speeds.get(worker.endpoint), own=own, available=available, total=total) for worker in workers]


def _machine(worker: Backend, speed: Speed | None, *, own: Container[str], available: int, total: int) -> Machine:
    endpoint = worker.endpoint
    is_here = endpoint.is_loopback or endpoint.host in own
    free, memory = worker.free_bytes if worker.devices else None, None
    devices = tuple(device.free for device in worker.devices) if len(worker.devices) > 1 else ()
    if _lends_cpu(worker.devices):
        memory = HERE if is_here else endpoint.host
        is_ours = is_here and abs(worker.devices[0].total - total) <= total // 50  # else a container's, or another one behind this address
        free = min(available, worker.devices[0].free) if is_ours else worker.devices[0].free
    return Machine(endpoint, free, speed, 0.0 if is_here else _round_trip(worker, speed), memory, devices)


def _round_trip(worker: Backend, speed: Speed | None) -> float:
    """Seconds: as measured; before that those of a whole handshake, which is never less."""
    return speed.round_trip if speed and speed.measured_at else (worker.latency_ms or 0.0) / 1000


def _lends_cpu(devices: Sequence[Device]) -> bool:
    """An accelerator always has some of its memory in use."""
    return len(devices) == 1 and devices[0].free == devices[0].total
