"""A running process that is not our child: how its end is noticed, and how it is signalled. It may be ours from before."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import Protocol

from synaptic.process.ledger import identity

POLL = 0.2  # seconds between two looks, where the system has no pidfd


class Running(Protocol):
    """A process, whoever started it. `exited`: its exit code, None when only its parent may know it."""

    @property
    def pid(self) -> int: ...

    @property
    def exited(self) -> asyncio.Future[int | None]: ...

    def signal(self, number: signal.Signals) -> bool:
        """Signal the whole group; False when there is nobody left."""

    def let_go(self) -> None:
        """Stop watching it."""


class Adopted:
    """`started` is its identity (see the ledger): another process with its pid counts as ended, and is left alone."""

    def __init__(self, pid: int, started: str) -> None:
        self.pid = pid
        self.exited: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._started = started
        self._descriptor = _pidfd(pid)
        self._poll: asyncio.Task[None] | None = None
        if not self._is_alive:  # asked after the descriptor was opened: from here on it means this very process
            self._tell()
        elif self._descriptor is not None:
            asyncio.get_running_loop().add_reader(self._descriptor, self._tell)
        else:
            self._poll = asyncio.create_task(self._look_again())

    def signal(self, number: signal.Signals) -> bool:
        if self.exited.done() or not self._is_alive:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self.pid) == self.pid:  # it leads a group of its own, as everything does that we start
                os.killpg(self.pid, number)
            elif sys.platform == "linux" and self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, number)
            else:
                os.kill(self.pid, number)
            return True
        return False

    def let_go(self) -> None:
        if self._poll:
            self._poll.cancel()
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def _is_alive(self) -> bool:
        return identity(self.pid) == self._started

    def _tell(self) -> None:
        if not self.exited.done():
            self.exited.set_result(None)
        self.let_go()

    async def _look_again(self) -> None:
        while self._is_alive:
            await asyncio.sleep(POLL)
        self._poll = None
        self._tell()


def _pidfd(pid: int) -> int | None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # an old kernel, or a Python built on one
            return os.pidfd_open(pid)
    return None
