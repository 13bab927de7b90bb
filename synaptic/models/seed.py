"""
Fill the folder of a caching rpc-server from a model file on the same machine, as if the model had been sent once.

Each tensor is hashed, then copied under its name: into a file beside, synced, renamed. Several threads, each with
several tensors at once. Nothing that is there in its full size is copied again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from synaptic.errors import EngineError, SynapticError, os_reason
from synaptic.models.gguf_source import refusal
from synaptic.models.tensor_cache import PART, alone
from synaptic.models.tensor_hash import Stretch, hashed
from synaptic.results import gib

STEP = 1024**2  # bytes copied between two looks at `stop`
MOST_THREADS = 8  # more than a disk can feed
SPARE = 1024**3  # bytes that stay free on the disk


@dataclasses.dataclass(frozen=True)
class Seeded:
    written: int
    there: int  # tensors that were there before
    bytes_written: int


def seed(weights: Sequence[Stretch], folder: Path, tell: Callable[[int], None], stop: threading.Event) -> Seeded:
    """`tell` hears of bytes that are dealt with, from any thread. Ends early once `stop` is set. SynapticError, EngineError."""
    with alone(folder):
        before = {weight.path: _version(weight.path) for weight in weights}
        job = _Seeding(deque(sorted(weights, key=lambda weight: -weight.bytes)), folder, before, tell, stop)
        threads = min(MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        with ThreadPoolExecutor(threads) as pool:
            results = [future.result() for future in [pool.submit(job.run) for _ in range(threads)]]
    return Seeded(*(sum(column) for column in zip(*map(dataclasses.astuple, results), strict=True)))


@dataclasses.dataclass(frozen=True)
class _Seeding:
    waiting: deque[Stretch]
    folder: Path
    before: dict[Path, tuple[int, int]]
    tell: Callable[[int], None]
    stop: threading.Event

    def run(self) -> Seeded:
        written = there = bytes_written = 0
        try:
            for weight, name in hashed(self.waiting, self.tell, self.stop):
                if self._keep(weight, self.folder / name):
                    written, bytes_written = written + 1, bytes_written + weight.bytes
                else:
                    there += 1
        except BaseException:
            self.stop.set()  # the other threads end too
            raise
        return Seeded(written, there, bytes_written)

    def _keep(self, weight: Stretch, target: Path) -> bool:
        """Whether it had to be written."""
        with contextlib.suppress(FileNotFoundError):
            if target.stat().st_size == weight.bytes:
                with contextlib.suppress(PermissionError):  # a file of somebody else
                    os.utime(target)  # it was asked for just now
                return False
        part = target.with_name(f".{target.name}-{threading.get_ident()}{PART}")  # two tensors may be equal
        try:
            with part.open("wb") as file:
                self._copy(weight, file)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o444)  # whole, unlike what a server may have left when it was killed
            if not self.stop.is_set():
                self._check_unchanged(weight.path)
                part.replace(target)
                return True
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            part.unlink(missing_ok=True)
        return False

    def _copy(self, weight: Stretch, out: BinaryIO) -> None:
        with weight.path.open("rb") as file:
            file.seek(weight.start)
            left = weight.bytes
            while left and not self.stop.is_set():
                piece = file.read(min(STEP, left))
                if not piece:
                    raise refusal(weight.path, "became shorter while it was read")
                out.write(piece)
                left -= len(piece)

    def _check_unchanged(self, path: Path) -> None:
        """What was hashed is what was copied."""
        if _version(path) != self.before[path]:
            raise refusal(path, "changed while it was read")

    def _unwritable(self, error: OSError) -> SynapticError:
        free = gib(shutil.disk_usage(self.folder).free)
        return SynapticError(f"cannot write into {self.folder}: {os_reason(error)}, {free} free", hint="try: cache gc --limit SIZE")


def room_for(missing: int, folder: Path) -> None:
    """SynapticError when so many bytes more would fill the disk."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if missing + SPARE > free:
        raise SynapticError(
            f"{gib(missing)} are missing in {folder}, and {gib(free)} are free there",
            hint="try: cache gc --limit SIZE; or another place: export LLAMA_CACHE=<folder>",
        )


def _version(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {os_reason(error)}") from error
    return found.st_mtime_ns, found.st_size
