"""
What this machine does meanwhile, once a second: processor, memory, swap, network, and GPUs where nvidia-smi is.

Its own cost is measured with it. A GPU's "utilisation" is the share of time in which anything ran on it, not of what it
can do; and what goes over InfiniBand with RDMA is not in the kernel's counters.
"""

from __future__ import annotations

import asyncio
import shutil
import time

import psutil

from synaptic.bench.telemetry.moment import LOOPBACK, SMI_QUERY, Gpu, Moment, gpus_of
from synaptic.bench.telemetry.watch import EVERY, Watch
from synaptic.results import to_json

SMI_WITHIN = 5.0  # seconds


class ThisMachine(Watch):
    """nvidia-smi's own cost is not in the overhead that it tells."""

    def __init__(self, node: str = "this machine", every: float = EVERY) -> None:
        super().__init__(node, every)
        self._smi = shutil.which("nvidia-smi")
        self._network = _network()

    async def _look(self) -> None:
        psutil.cpu_percent(percpu=True)  # it counts from here
        while True:
            await asyncio.sleep(self.every)
            gpus = await self._gpus() if self._smi else ()
            moment, cost = await asyncio.to_thread(self._moment, gpus)
            self._series.append(to_json(moment))
            self._cost += cost

    def _moment(self, gpus: tuple[Gpu, ...]) -> tuple[Moment, float]:
        """And the seconds of processor time that it took."""
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
        words = [self._smi, f"--query-gpu={SMI_QUERY}", "--format=csv,noheader,nounits"]
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


def _network() -> tuple[int, int]:
    counters = psutil.net_io_counters(pernic=True)
    outward = [each for name, each in counters.items() if name != LOOPBACK]
    return sum(each.bytes_sent for each in outward), sum(each.bytes_recv for each in outward)
