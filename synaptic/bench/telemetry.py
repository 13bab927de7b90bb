"""
What this machine does meanwhile, once a second: processor, memory, swap, network, and GPUs where nvidia-smi is.

Its own cost is measured with it. A GPU's "utilisation" is the share of time in which anything ran on it, not of what it
can do; and what goes over InfiniBand with RDMA is not in the kernel's counters.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import time
from types import TracebackType

import psutil

from synaptic.results import Json, to_json

EVERY = 1.0  # seconds
SMI_WITHIN = 5.0
_QUERY = "utilization.gpu,memory.used,power.draw,temperature.gpu"


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


class Telemetry:
    """Looks while its context is open; `node` is what this machine is called in the report."""

    def __init__(self, node: str = "this machine", every: float = EVERY) -> None:
        self._node = node
        self._every = every
        self._moments: list[Moment] = []
        self._cost = 0.0  # seconds of processor time
        self._began = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self._smi = shutil.which("nvidia-smi")
        self._network = _network()

    async def __aenter__(self) -> Telemetry:
        psutil.cpu_percent(percpu=True)  # it counts from here
        self._began = time.monotonic()
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._task
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def as_json(self) -> dict[str, Json]:
        """`overhead`: the processor time it took itself, as a share of one core; nvidia-smi's own is not in it."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        said = {"every": self._every, "seconds": round(seconds, 3), "overhead": round(self._cost / seconds, 6)}
        return {self._node: to_json({**said, "series": self._moments})}

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            gpus = await self._gpus() if self._smi else ()
            moment, cost = await asyncio.to_thread(self._look, gpus)
            self._moments.append(moment)
            self._cost += cost

    def _look(self, gpus: tuple[Gpu, ...]) -> tuple[Moment, float]:
        began = time.thread_time()
        cores = tuple(psutil.cpu_percent(percpu=True))
        before, self._network = self._network, _network()
        sent, received = (max(0, now - then) for now, then in zip(self._network, before, strict=True))
        cpu = round(sum(cores) / max(len(cores), 1), 1)
        moment = Moment(time.time(), cpu, cores, psutil.virtual_memory().used, psutil.swap_memory().used, sent, received, gpus)
        return moment, time.thread_time() - began

    async def _gpus(self) -> tuple[Gpu, ...]:
        """None where it fails: a driver may be missing under it."""
        assert self._smi
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        words = [self._smi, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
        try:
            process = await asyncio.create_subprocess_exec(*words, stdin=nothing, stdout=pipe, stderr=nothing)
        except OSError:
            self._smi = None
            return ()
        try:
            async with asyncio.timeout(SMI_WITHIN):
                output, _ = await process.communicate()
        except TimeoutError:
            self._smi = None
            return ()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return gpus_of(output.decode(errors="replace")) if process.returncode == 0 else ()


def gpus_of(text: str) -> tuple[Gpu, ...]:
    """The lines of nvidia-smi; `[N/A]` where a device does not say."""
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


def _network() -> tuple[int, int]:
    counters = psutil.net_io_counters(pernic=True)
    outward = [each for name, each in counters.items() if name != "lo"]
    return sum(each.bytes_sent for each in outward), sum(each.bytes_recv for each in outward)
