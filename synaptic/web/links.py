"""
How much passes between a coordinator and each of its workers.

Where relays stand between, they have counted it; else the kernel has, on the connections of the coordinator's process.
Nobody is asked, and where neither tells (a system that is not Linux), nothing is known.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Iterable, Sequence

from synaptic.endpoint import Endpoint
from synaptic.web import kernel_tcp

BELIEVED = 10.0  # seconds between two looks; over a longer time an average says nothing of now


@dataclasses.dataclass(frozen=True)
class Line:
    """Whose connections to whom. `counted`: bytes to and from each worker, where something else than the kernel knows them."""

    name: str
    pid: int
    workers: tuple[Endpoint, ...]
    counted: tuple[tuple[str, int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Link:
    """Between a coordinator and one worker: bytes per second to it and from it, lately."""

    endpoint: str
    sent_per_second: float
    received_per_second: float


Key = tuple[str, int, str]  # line, process, worker
Totals = dict[Key, tuple[int, int]]


class Links:
    """Look now and then; a rate is known from the second look on."""

    def __init__(self) -> None:
        self.is_told = True  # whether anybody here counts
        self._before: tuple[float, Totals] = (0.0, {})
        self._rates: dict[Key, Link] = {}
        self._addresses: dict[tuple[int, str], frozenset[str]] = {}

    def forget(self) -> None:
        self._rates = {}

    def of(self, name: str, pid: int | None) -> tuple[Link, ...]:
        return tuple(link for (line, process, _), link in self._rates.items() if (line, process) == (name, pid))

    async def look(self, lines: Sequence[Line], now: float) -> None:
        """`now` in seconds. Once at a time."""
        totals = await asyncio.to_thread(self._totals, lines)
        (at, before), self._before = self._before, (now, totals)
        seconds = now - at
        self._rates = {key: _rate(key, before[key], totals[key], seconds) for key in totals if key in before and 0 < seconds <= BELIEVED}

    def _totals(self, lines: Sequence[Line]) -> Totals:
        found: Totals = {(line.name, line.pid, worker): (up, down) for line in lines for worker, up, down in line.counted}
        silent = [line for line in lines if line.workers and not line.counted]
        kernel = kernel_tcp.connections() if silent else {}
        self.is_told = kernel is not None
        if kernel:
            for line in silent:
                own = kernel_tcp.inodes(line.pid)
                found |= self._of(line, [each for inode, each in kernel.items() if inode in own])
        known = {(line.pid, worker.host) for line in silent for worker in line.workers}
        self._addresses = {key: each for key, each in self._addresses.items() if key in known}
        return found

    def _of(self, line: Line, own: Iterable[kernel_tcp.Connection]) -> Totals:
        totals: Totals = {}
        for each in own:
            for worker in line.workers:
                if each.port == worker.port and each.host in self._addresses_of(line.pid, worker.host):
                    key = (line.name, line.pid, str(worker))
                    sent, received = totals.get(key, (0, 0))
                    totals[key] = (sent + each.sent, received + each.received)
        return totals

    def _addresses_of(self, pid: int, host: str) -> frozenset[str]:
        """What a name means; looked up once for each process, which looked it up when it started."""
        if (pid, host) not in self._addresses:
            try:
                found = frozenset(str(each[4][0]).partition("%")[0] for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError):
                found = frozenset()
            self._addresses[pid, host] = found
        return self._addresses[pid, host]


def _rate(key: Key, before: tuple[int, int], after: tuple[int, int], seconds: float) -> Link:
    """A connection that was closed takes its counts with it: then nothing is said to have passed."""
    sent, received = (max(new - old, 0) / seconds for old, new in zip(before, after, strict=True))
    return Link(key[2], round(sent, 1), round(received, 1))
