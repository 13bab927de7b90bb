"""Locks between programs: held by an open file, so that whoever dies lets go. A child that did not start yet holds on for its parent."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from synaptic.errors import SynapticError

EVERY = 0.02  # seconds between two tries


class Flock:
    """Of the file at `path`, which stays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def take(self, *, shared: bool = False) -> bool:
        """Whether it is ours now, at once; `shared`: with others that share it. Raises OSError."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def take_soon(self, *, shared: bool = False) -> bool:
        """As `take`; whoever only looks whether it is held lets go at once."""
        for _ in range(3):
            if self.take(shared=shared):
                return True
            time.sleep(0.002)
        return False

    def give_back(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextlib.contextmanager
def held(path: Path, within: float) -> Iterator[None]:
    """For a few file operations: blocks. Raises SynapticError when someone else holds it for longer than `within` seconds."""
    lock, end = Flock(path), time.monotonic() + within
    while not lock.take():
        if time.monotonic() > end:
            raise SynapticError(f"another program holds {path} for {within:g} s", hint="is one of its shells stopped? try: fg, or ps")
        time.sleep(EVERY)
    try:
        yield
    finally:
        lock.give_back()
