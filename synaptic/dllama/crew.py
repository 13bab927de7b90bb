"""Threads that share out one operation at a time. They wait without spinning, so more of them than cores do little harm."""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import Callable

MOST = 256

_Part = Callable[..., None]
_Task = tuple[_Part, tuple[int, ...]]


class Crew:
    """`threads`, of which the caller is one; never more than the machine has cores. One caller at a time."""

    def __init__(self, threads: int) -> None:
        self.size = max(1, min(threads, os.cpu_count() or 1, MOST))
        self._tasks = [queue.SimpleQueue[_Task | None]() for _ in range(self.size - 1)]
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self.dismiss = weakref.finalize(self, _dismiss, self._tasks)  # at the latest when nobody knows it any more
        for tasks in self._tasks:
            threading.Thread(target=_work, args=(tasks, self._done), name="dllama", daemon=True).start()

    def share(self, part: _Part, count: int, *args: int) -> None:
        """Call part(*args, first, last) for shares of 0 … `count`, and return when all are done."""
        size = min(self.size, count)
        if size <= 1:
            part(*args, 0, count)
            return
        edges = [count * k // size for k in range(size + 1)]
        for k, tasks in enumerate(self._tasks[: size - 1]):
            tasks.put((part, (*args, edges[k + 1], edges[k + 2])))
        try:
            part(*args, 0, edges[1])
        finally:
            failed = [error for error in [self._done.get() for _ in range(size - 1)] if error]
        if failed:
            raise failed[0]


def alone(part: _Part, count: int, *args: int) -> None:
    """For what one thread has done before another one wakes up."""
    part(*args, 0, count)


def _dismiss(everybody: list[queue.SimpleQueue[_Task | None]]) -> None:
    for tasks in everybody:
        tasks.put(None)


def _work(tasks: queue.SimpleQueue[_Task | None], done: queue.SimpleQueue[BaseException | None]) -> None:
    while (task := tasks.get()) is not None:
        part, args = task
        try:
            part(*args)
        except BaseException as error:  # it is raised again where the work came from
            done.put(error)
        else:
            done.put(None)
