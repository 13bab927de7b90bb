"""
What Linux says of a machine, read from text: /proc/stat, /proc/meminfo and /proc/net/dev of another one, or node_exporter's
metrics of it. Pure; between two readings lies a moment of telemetry.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from synaptic.bench.telemetry.moment import LOOPBACK, Gpu, Moment, gpus_of
from synaptic.bench.telemetry.scrape import Sampled

GPUS, ENDS = "@gpu", "@end"
_NETWORK = ("node_network_transmit_bytes_total", "node_network_receive_bytes_total")
_TIMES = re.compile(r"(\d+)m([\d.]+)s (\d+)m([\d.]+)s")


@dataclasses.dataclass(frozen=True)
class Reading:
    """
    `cores`: (busy, all) seconds or ticks of each since it was started; `sent` and `received`: bytes since then. `memory` and
    `swap`: bytes in use now. `cost`: seconds of processor time that looking took so far.
    """

    cores: tuple[tuple[float, float], ...]
    memory: int
    swap: int
    sent: int
    received: int
    gpus: tuple[Gpu, ...] = ()
    cost: float = 0.0


def reading_of(text: str) -> Reading | None:
    """None: something is missing. The text is that of the three files, maybe nvidia-smi's lines after @gpu, and `times`."""
    system, _, rest = text.partition(GPUS)
    cores = tuple(_core(line) for line in system.splitlines() if re.match(r"cpu\d", line))
    kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", system, re.MULTILINE)}
    links = re.findall(r"^\s*([^\s:]+):\s*(\d+(?:\s+\d+){15})\s*$", system, re.MULTILINE)
    if not cores or "MemTotal" not in kib or not links:
        return None
    counts = [list(map(int, numbers.split())) for name, numbers in links if name != LOOPBACK]
    return Reading(
        cores=cores,
        memory=(kib["MemTotal"] - kib.get("MemAvailable", kib.get("MemFree", 0))) * 1024,
        swap=(kib.get("SwapTotal", 0) - kib.get("SwapFree", 0)) * 1024,
        sent=sum(each[8] for each in counts),
        received=sum(each[0] for each in counts),
        gpus=gpus_of(rest),
        cost=sum(60 * int(a) + float(b) + 60 * int(c) + float(d) for a, b, c, d in _TIMES.findall(text)),
    )


def reading_of_exporter(said: Sequence[Sampled]) -> Reading | None:
    """None: that is no node_exporter."""
    cpus: dict[str, list[float]] = {}
    values: dict[str, float] = {}
    for each in said:
        if each.name == "node_cpu_seconds_total":
            busy_all = cpus.setdefault(each.labels.get("cpu", ""), [0.0, 0.0])
            busy_all[0] += 0.0 if each.labels.get("mode") in ("idle", "iowait") else each.value
            busy_all[1] += each.value
        elif each.name in _NETWORK and each.labels.get("device") != LOOPBACK:
            values[each.name] = values.get(each.name, 0.0) + each.value
        elif each.name.startswith("node_memory_"):
            values[each.name] = each.value
    if not cpus or "node_memory_MemTotal_bytes" not in values:
        return None
    memory = values["node_memory_MemTotal_bytes"] - values.get("node_memory_MemAvailable_bytes", 0.0)
    swap = values.get("node_memory_SwapTotal_bytes", 0.0) - values.get("node_memory_SwapFree_bytes", 0.0)
    sent, received = (int(values.get(name, 0.0)) for name in _NETWORK)
    return Reading(tuple((busy, whole) for busy, whole in cpus.values()), int(memory), int(swap), sent, received)


def moment(at: float, before: Reading, now: Reading) -> Moment:
    """What happened between two readings of the same machine. `at`: seconds since the epoch."""
    cores = tuple(_percent(then, later) for then, later in zip(before.cores, now.cores, strict=False))
    cpu = round(sum(cores) / max(len(cores), 1), 1)
    return Moment(at, cpu, cores, now.memory, now.swap, max(0, now.sent - before.sent), max(0, now.received - before.received), now.gpus)


def _core(line: str) -> tuple[float, float]:
    """user nice system idle iowait irq softirq steal; guests are in user already."""
    ticks = [float(word) for word in line.split()[1:9]]
    return sum(ticks) - sum(ticks[3:5]), sum(ticks)


def _percent(before: tuple[float, float], now: tuple[float, float]) -> float:
    whole = now[1] - before[1]
    return round(100 * min(1.0, max(0.0, (now[0] - before[0]) / whole)), 1) if whole > 0 else 0.0
