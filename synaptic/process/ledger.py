"""
Processes that may outlive the program that started them, and how to know them again.

A pid alone proves nothing: it is reused. A process is ours when its pid, its start time (clock ticks since boot)
and the boot itself agree. One file per process, under the state directory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.files import appearing
from synaptic.results import to_json


@dataclasses.dataclass(frozen=True)
class Entry:
    pid: int
    started: str  # identity of this start of this pid on this boot
    endpoint: Endpoint
    log: Path
    engine: str
    cache: Path | None = None  # where it keeps tensors

    @property
    def is_alive(self) -> bool:
        return identity(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Signal its group, if it still is the process we started."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


class Ledger:
    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def write(self, entry: Entry) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with appearing(self._path(entry.endpoint)) as file:
            file.write(json.dumps(to_json(entry)).encode())

    def erase(self, endpoint: Endpoint) -> None:
        if self._folder:
            self._path(endpoint).unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """The processes that still live; entries of dead ones are removed."""
        living: list[Entry] = []
        for path in sorted(self._folder.glob("*.json")) if self._folder else ():
            entry = _read(path)
            if entry and entry.is_alive:
                living.append(entry)
            else:
                path.unlink(missing_ok=True)
        return living

    def _path(self, endpoint: Endpoint) -> Path:
        assert self._folder
        return self._folder / f"{endpoint.host.replace(':', '_')}-{endpoint.port}.json"


def identity(pid: int) -> str | None:
    """What distinguishes this start of `pid` from any other; None when no such process lives."""
    with contextlib.suppress(OSError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if stat[0] in "ZX" else f"{boot}/{stat[19]}"  # field 22 of proc(5): starttime
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    return None


def wait_gone(entry: Entry, within: float) -> bool:
    """Block until the process has ended, at most `within` seconds. For processes that are not our children."""
    for _ in _ticks(within):
        if not entry.is_alive:
            return True
    return not entry.is_alive


def _ticks(within: float) -> Iterator[float]:
    end = time.monotonic() + within
    while time.monotonic() < end:
        yield time.monotonic()
        time.sleep(0.02)


def _read(path: Path) -> Entry | None:
    try:
        raw = json.loads(path.read_text())
        cache = Path(raw["cache"]) if raw.get("cache") else None
        return Entry(int(raw["pid"]), str(raw["started"]), Endpoint.parse(raw["endpoint"]), Path(raw["log"]), str(raw["engine"]), cache)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError):
        return None
