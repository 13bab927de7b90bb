"""What was seen of a machine at one moment, and of its GPUs as nvidia-smi says it. Values only."""

from __future__ import annotations

import dataclasses

LOOPBACK = "lo"  # what goes over it never leaves the machine, and is not counted
SMI_QUERY = "utilization.gpu,memory.used,power.draw,temperature.gpu"


@dataclasses.dataclass(frozen=True)
class Gpu:
    """Percent of time busy, bytes, watts, degrees Celsius. None: it does not say."""

    busy: float | None
    memory: int | None
    power: float | None
    temperature: float | None


@dataclasses.dataclass(frozen=True)
class Moment:
    """`at`: seconds since the epoch. `cpu`: percent of all cores; bytes; network bytes since the moment before, without loopback."""

    at: float
    cpu: float
    cores: tuple[float, ...]
    memory: int
    swap: int
    sent: int
    received: int
    gpus: tuple[Gpu, ...] = ()


def gpus_of(text: str) -> tuple[Gpu, ...]:
    """The lines of nvidia-smi, asked for SMI_QUERY as csv,noheader,nounits; `[N/A]` where a device does not say."""
    found = []
    for line in text.splitlines():
        values = [_number(word) for word in line.split(",")]
        if len(values) == 4:
            busy, mib, power, temperature = values
            found.append(Gpu(busy, None if mib is None else int(mib * 1024 * 1024), power, temperature))
    return tuple(found)


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
