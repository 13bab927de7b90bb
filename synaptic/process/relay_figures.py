"""
What has passed through a relay, worker by worker: a small file that the relay maps into its memory and others read.

    5 numbers for each worker, in the order of the plan, in the machine's own byte order:
    u64 bytes to it · u64 bytes from it · u64 round trips · f64 seconds waited in them · f64 seconds to it and back

Writing costs no system call, and whoever adopts the coordinator reads on where the other one stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from synaptic.endpoint import Endpoint

RECORD = struct.Struct("=QQQdd")


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Between the coordinator and one worker. A round trip is a question and its answer, computing included."""

    endpoint: str
    bytes_up: int = 0  # to the worker
    bytes_down: int = 0
    round_trips: int = 0
    wait_ms: float | None = None  # of one round trip, on average
    network_ms: float | None = None  # there and back, without computing, lately


class Figures:
    """The relay's side. Without a file that can be written it counts for nobody."""

    def __init__(self, path: Path | None, workers: int) -> None:
        self._path = path
        self._map = _mapped(path, RECORD.size * workers) if path else None

    def meter(self, number: int) -> Counter:
        return Counter(self._map, RECORD.size * number)

    def drop(self) -> None:
        if self._path:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


class Counter:
    """Of one worker. Its connections share it: llama-server uses them one at a time."""

    def __init__(self, memory: mmap.mmap | None, offset: int) -> None:
        self._memory = memory
        self._offset = offset
        self._up = self._down = self._turns = 0
        self._waited = self._round_trip = 0.0

    def passed(self, up: int, down: int) -> None:
        self._up += up
        self._down += down

    def turned(self, waited: float, round_trip: float | None) -> None:
        self._turns += 1
        self._waited += waited
        if round_trip is not None:
            self._round_trip = round_trip
        if self._memory is not None:
            RECORD.pack_into(self._memory, self._offset, self._up, self._down, self._turns, self._waited, self._round_trip)


def figures_of(log: Path, pid: int) -> Path:
    """Where the relay of the process `pid` counts: beside its log."""
    return log.with_name(f"{log.stem}.{pid}.traffic")


def traffic(path: Path, workers: Sequence[Endpoint]) -> tuple[Traffic, ...]:
    """Nothing when there is no relay, or its file cannot be read."""
    with contextlib.suppress(OSError):
        raw = path.read_bytes()
        if len(raw) == RECORD.size * len(workers):
            return tuple(_read(str(worker), *RECORD.unpack_from(raw, RECORD.size * index)) for index, worker in enumerate(workers))
    return ()


def _read(worker: str, up: int, down: int, turns: int, waited: float, round_trip: float) -> Traffic:
    wait = round(waited / turns * 1000, 3) if turns else None
    return Traffic(worker, up, down, turns, wait, round(round_trip * 1000, 3) if round_trip else None)


def _mapped(path: Path, size: int) -> mmap.mmap | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, bytes(size))  # written, not only sized: on a full disk a hole in a mapped file kills its writer
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return None
