"""What a thread and whoever waits for it tell each other while it works."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Meter:
    """Bytes that are `done` of `total` (0: not known). Once `stop` is set, the thread ends soon."""

    def __init__(self, total: int = 0) -> None:
        self.stop = threading.Event()
        self.done = 0
        self.total = total
        self.wake: Callable[[], None] | None = None  # how to get the thread out of what it waits for now
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """From any thread."""
        with self._lock:
            self.done += count

    def end(self) -> None:
        """Ask the thread to end."""
        self.stop.set()
        if self.wake:
            self.wake()
