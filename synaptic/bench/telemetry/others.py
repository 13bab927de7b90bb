"""
What other machines and servers do meanwhile, once a second.

    OverSsh     a small shell loop on the machine, over one connection; what the loop costs there, it says itself
    Exporter    node_exporter, where one answers
    Server      /metrics of llama-server or vLLM: how many requests are at work, and how many wait
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from synaptic.bench.telemetry.moment import SMI_QUERY
from synaptic.bench.telemetry.reading import ENDS, GPUS, Reading, moment, reading_of, reading_of_exporter
from synaptic.bench.telemetry.scrape import queue_of, scrape
from synaptic.bench.telemetry.watch import EVERY, Watch
from synaptic.errors import os_reason
from synaptic.results import to_json
from synaptic.server_url import without_path

EXPORTER_PORT = 9100
LONGEST = 1 << 18  # bytes of one look
HOURS = 12  # after so many a loop that nobody ended ends itself
_LOOP = f"""n=0
while [ $n -lt {HOURS * 3600} ]; do
n=$((n+1))
grep -E '^cpu[0-9]' /proc/stat && cat /proc/meminfo /proc/net/dev || exit
if command -v nvidia-smi >/dev/null 2>&1; then echo {GPUS}; nvidia-smi --query-gpu={SMI_QUERY} --format=csv,noheader,nounits; fi
times
echo {ENDS} || exit
sleep SECONDS
done"""


class _ByReadings(Watch):
    """A machine whose counters are read: between two readings lies a moment."""

    def _between(self, before: Reading | None, now: Reading) -> Reading:
        if before:
            self._series.append(to_json(moment(time.time(), before, now)))
        return now


class OverSsh(_ByReadings):
    """`where`: user@host or host; `ssh` the program, and `variables` its environment. Nothing is asked: keys, or nothing."""

    def __init__(self, node: str, where: str, ssh: str, variables: Mapping[str, str], every: float = EVERY) -> None:
        super().__init__(node, every)
        self._where = where
        self._ssh = ssh
        self._variables = variables

    async def _look(self) -> None:
        words = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "--", self._where, _LOOP.replace("SECONDS", f"{self.every:g}"))
        nothing, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                self._ssh, *words, stdin=nothing, stdout=pipe, stderr=nothing, env=self._variables, limit=LONGEST, start_new_session=True
            )
        except OSError as error:
            self.trouble = f"cannot start {self._ssh}: {os_reason(error)}"
            return
        try:
            assert process.stdout
            await self._read(process.stdout)
            self.trouble = f"ssh {self._where} ended with {await process.wait()}"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _read(self, output: asyncio.StreamReader) -> None:
        before: Reading | None = None
        while True:
            try:
                text = await output.readuntil(f"{ENDS}\n".encode())
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                return
            if now := reading_of(text.decode(errors="replace")):
                self._cost = max(self._cost, now.cost)
                before = self._between(before, now)


class Exporter(_ByReadings):
    """What it costs there it does not say."""

    def __init__(self, node: str, url: str, every: float = EVERY) -> None:
        super().__init__(node, every)
        self._url = url

    async def answers(self) -> bool:
        return reading_of_exporter(await scrape(self._url)) is not None

    async def _look(self) -> None:
        before: Reading | None = None
        while True:
            if now := reading_of_exporter(await scrape(self._url)):
                before = self._between(before, now)
            await asyncio.sleep(self.every)


class Server(Watch):
    def __init__(self, url: str, key: str | None, every: float = EVERY) -> None:
        super().__init__(f"requests at {url}", every)
        self._url = f"{without_path(url)}/metrics"
        self._key = key

    async def _look(self) -> None:
        while True:
            if queue := queue_of(await scrape(self._url, self._key)):
                told = to_json(queue)
                assert isinstance(told, dict)
                self._series.append({"at": time.time(), **told})
            await asyncio.sleep(self.every)


async def watch_of_node(
    node: str, host: str, where: str | None, ssh: str | None, variables: Mapping[str, str], every: float = EVERY, port: int = EXPORTER_PORT
) -> Watch | None:
    """node_exporter where it answers, or else ssh to `where`; None: neither is there."""
    exporter = Exporter(node, f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics", every)
    if await exporter.answers():
        return exporter
    return OverSsh(node, where, ssh, variables, every) if where and ssh else None
