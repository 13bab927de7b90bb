"""
One supervised child process.

    STOPPED ──▶ STARTING ──▶ READY ──▶ STOPPING ──▶ STOPPED
                    │           │         ▲
                    ├───────────┼─────────┘
                    └──▶ FAILED ◀┘        FAILED ──▶ STARTING

Nobody outside looks at the state to decide what to do next: `ensure_ready` and `stop` are safe to call in any
state, from any task, at any time. The child writes to a file, never to a pipe: it cannot block on us, and its
words outlive us.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import os
import signal
import time
from collections.abc import Awaitable, Callable, Hashable
from pathlib import Path

from synaptic.errors import EngineError, SynapticError
from synaptic.events import Bus, ChildChanged, ChildSpoke
from synaptic.process.adopted import Running
from synaptic.process.child_log import Tail
from synaptic.process.spawn import Spec, ending, spawn

OLD_LOG = 1024 * 1024  # bytes of the log of a process that ran already which are read: how it was loaded stands first


class State(enum.Enum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


NEXT = {
    State.STOPPED: {State.STARTING, State.READY},  # ready at once: it ran already
    State.STARTING: {State.READY, State.FAILED, State.STOPPING},
    State.READY: {State.STOPPING, State.FAILED},
    State.STOPPING: {State.STOPPED},
    State.FAILED: {State.STARTING},
}


@dataclasses.dataclass(frozen=True)
class Patience:
    """Seconds. A start is given up after `start` without any sign of progress, however long it has run."""

    start: float = 60.0
    terms: tuple[float, ...] = (4.0, 4.0)  # one SIGTERM each, then SIGKILL: a frozen llama-server needs a second one
    kill: float = 2.0


class Child:
    """
    `is_ready(child)` is asked until true; `sign_of_life()` is any value that changes while a start moves on. Lines that
    are chatter stay in the log, and nobody hears of them.
    """

    def __init__(
        self,
        spec: Spec,
        bus: Bus,
        *,
        is_ready: Callable[[Child], Awaitable[bool]],
        on_line: Callable[[str], None] = lambda line: None,
        is_chatter: Callable[[bytes], bool] = lambda raw: False,
        on_change: Callable[[State], None] = lambda state: None,
        sign_of_life: Callable[[Child], Hashable] = lambda child: None,
        explain: Callable[[Child], str | None] = lambda child: None,
        on_spawn: Callable[[int], None] = lambda pid: None,
        has_owner_elsewhere: Callable[[], bool] = lambda: False,
        was_stopped_elsewhere: Callable[[], bool] = lambda: False,
        patience: Patience = Patience(),
    ) -> None:
        self.spec = spec
        self.state = State.STOPPED
        self.cause = ""  # why it is FAILED, in words
        self.last_words: collections.deque[str] = collections.deque(maxlen=20)
        self.lines = 0
        self._bus = bus
        self._is_ready = is_ready
        self._on_line = on_line
        self._is_chatter = is_chatter
        self._on_change = on_change
        self._sign_of_life = sign_of_life
        self._explain = explain
        self._on_spawn = on_spawn
        self._has_owner_elsewhere = has_owner_elsewhere
        self._was_stopped_elsewhere = was_stopped_elsewhere
        self._patience = patience
        self._running: Running | None = None
        self._tail: Tail | None = None
        self._follower: asyncio.Task[None] | None = None
        self._start: asyncio.Task[None] | None = None
        self._stop: asyncio.Task[None] | None = None
        self._waiting = 0

    @property
    def pid(self) -> int | None:
        return self._running.pid if self._running and self.state in (State.STARTING, State.READY, State.STOPPING) else None

    async def ensure_ready(self) -> None:
        """Return once the child serves; start it first if need be. The last caller to give up stops the start."""
        if self._stop:
            await asyncio.shield(self._stop)
        if self.state is State.READY:
            return
        if self._start is None or self._start.done():
            if self.state is not State.STARTING:  # one that was adopted may be on its way already
                self._enter(State.STARTING)
            self._start = asyncio.create_task(self._run_to_ready())
            self._start.add_done_callback(lambda start: start.cancelled() or start.exception())  # heard, even if nobody waits
        self._waiting += 1
        start = self._start
        try:
            await asyncio.shield(start)
        except asyncio.CancelledError:
            if start.cancelled():  # stop() was called meanwhile
                raise EngineError(f"{self.spec.name} was stopped while it started") from None
            if self._waiting == 1:
                self._begin_stop()
            raise
        finally:
            self._waiting -= 1

    async def stop(self) -> None:
        """Bring the child down, politely and then not. Does nothing when it is down."""
        if stopping := self._begin_stop():
            await asyncio.shield(stopping)

    async def exited(self, within: float) -> bool:
        """Whether the process has ended, waiting up to `within` seconds for it."""
        exited = self._running.exited if self._running else None
        if exited and not exited.done():
            await asyncio.wait([exited], timeout=within)
        if self._follower and exited and exited.done():
            await asyncio.wait([self._follower], timeout=1.0)
        return exited is None or exited.done()

    def adopt(self, running: Running, *, is_ready: bool) -> None:
        """Watch over a process that runs already. What its log says so far is heard, and not told again."""
        assert self.state is State.STOPPED
        self._running = running
        self._enter(State.READY if is_ready else State.STARTING)
        self._tail = Tail(self.spec.log if self.spec.log.exists() else Path(os.devnull))
        for raw in self._tail.past(OLD_LOG):
            self._hear(raw, is_news=False)
        self._follower = asyncio.create_task(self._follow(running.exited, self._tail))

    def is_said_to_serve(self) -> None:
        """Whoever starts it has seen that it is ready."""
        if self.state is State.STARTING and self._start is None:
            self._enter(State.READY)

    def let_go(self) -> None:
        """Forget the process without stopping it."""
        for task in (self._follower, self._start):
            if task:
                task.cancel()
        if self._running:
            self._running.let_go()
        if self._tail:
            self._tail.close()  # a follower that was cancelled before its first step does not

    def failure(self, what: str) -> EngineError:
        cause = self._explain(self)
        message = f"{self.spec.name} {what}" + (f": {cause}" if cause else "")
        return EngineError(message, hint=f"its log: {self.spec.log}", details=tuple(self.last_words))

    def _begin_stop(self) -> asyncio.Task[None] | None:
        if self._stop is None and self.state in (State.STARTING, State.READY):
            self._enter(State.STOPPING)
            self._stop = asyncio.create_task(self._run_to_stop())
        return self._stop

    async def _run_to_stop(self) -> None:
        try:
            if self._start and not self._start.done():
                self._start.cancel()
                await asyncio.wait([self._start])
            await self._terminate()
        finally:
            self._stop = None
            self._enter(State.STOPPED)

    async def _run_to_ready(self) -> None:
        try:
            if self._running is None or self._running.exited.done():
                self._spawn()
            await self._wait_until_ready()
        except SynapticError as error:
            await self._terminate()
            self._fail(str(error))
            raise
        self._enter(State.READY)

    def _spawn(self) -> None:
        self.last_words.clear()
        self.cause = ""
        self._running = spawn(self.spec)
        self._tail = Tail(self.spec.log)
        self._follower = asyncio.create_task(self._follow(self._running.exited, self._tail))
        self._on_spawn(self._running.pid)

    async def _wait_until_ready(self) -> None:
        assert self._running
        exited = self._running.exited
        moved, sign = time.monotonic(), None
        while not await self._is_ready(self):
            await asyncio.wait([exited], timeout=0.02)
            if exited.done():
                await self.exited(1.0)
                raise self.failure(f"ended before it was ready ({ending(exited.result())})")
            now = (self.lines, self._sign_of_life(self))
            if now != sign:
                moved, sign = time.monotonic(), now
            elif time.monotonic() - moved > self._patience.start:
                raise self.failure(f"showed no progress for {self._patience.start:g} s and was given up")

    async def _follow(self, exited: asyncio.Future[int | None], tail: Tail) -> None:
        """Relay the child's log until it exits; notice an exit nobody asked for."""
        with tail:
            while not exited.done():
                self._relay(tail)
                if tail.is_full and not self._has_owner_elsewhere():
                    await asyncio.to_thread(tail.put_aside)
                await asyncio.wait([exited], timeout=0.02 if self.state is State.STARTING else 0.1)
            self._relay(tail, is_over=True)
        self._notice_end(exited.result())

    def _notice_end(self, code: int | None) -> None:
        is_watched_only = self.state is State.STARTING and self._start is None
        if self.state is not State.READY and not is_watched_only:
            return  # whoever starts or stops it will see
        if self._was_stopped_elsewhere():
            self._enter(State.STOPPING)
            self._enter(State.STOPPED)
        else:
            self._fail(f"ended unexpectedly ({ending(code)})")

    def _relay(self, tail: Tail, *, is_over: bool = False) -> None:
        for raw in tail.lines(is_over=is_over):
            self._hear(raw)

    def _hear(self, raw: bytes, *, is_news: bool = True) -> None:
        self.lines += 1
        if self._is_chatter(raw) or not (line := raw.decode(errors="replace").rstrip()):
            return
        self.last_words.append(line)
        self._on_line(line)
        if is_news:
            self._bus.publish(ChildSpoke(child=self.spec.name, line=line))

    def _fail(self, cause: str) -> None:
        self.cause = self._explain(self) or cause
        self._enter(State.FAILED)

    async def _terminate(self) -> None:
        if self._running is None:
            return
        for grace in self._patience.terms:
            if self._running.signal(signal.SIGTERM) and await self.exited(grace):
                return
        if self._running.signal(signal.SIGKILL):
            await self.exited(self._patience.kill)

    def _enter(self, state: State) -> None:
        assert state in NEXT[self.state], f"{self.spec.name}: {self.state.value} -> {state.value}"
        before, self.state = self.state, state
        self._on_change(state)
        self._bus.publish(ChildChanged(child=self.spec.name, before=before.value, after=state.value, cause=self.cause))
