"""
The second kind of coordinator: dllama-api, which reads a distributed-llama model and cuts every layer over workers.

It says that it serves only by listening, and dies of a connection without a request; so its port is looked up in the
kernel's table, and then asked one real question. Its own way out of a lost worker is to begin anew every 3 seconds,
and each try that meets a missing worker ends those that it reached before: we let it try while all are there, and
end it at once when one is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from synaptic.cluster.backend import Backend
from synaptic.cluster.dllama_workers import DllamaWorkers
from synaptic.cluster.http import identify
from synaptic.dllama.header import DllamaHeader
from synaptic.endpoint import Endpoint
from synaptic.errors import EngineError
from synaptic.events import Bus, ModelPlaced, Noticed, Work
from synaptic.models.model import DLLAMA
from synaptic.planning.dllama import shares_of
from synaptic.planning.plan import Plan
from synaptic.process.child import Child, Patience, State
from synaptic.process.coordinator_entry import KEY, Entry, Process
from synaptic.process.coordinator_ledger import CoordinatorLedger
from synaptic.process.dllama_command import FIRST_PORT, HOST, Start, command_line, log_of
from synaptic.process.dllama_log import explain, has_no_port, is_reconnecting, step_of
from synaptic.process.placement import HERE, Share
from synaptic.process.reading import tell_reading
from synaptic.process.relay_figures import Traffic
from synaptic.process.spawn import Spec
from synaptic.process.variables import inherited
from synaptic.process.workers import free_port, listens

PORTS = 5  # tries: between our look and its bind, which comes after the weights, another may take the port
ABSENT_WITHIN = 3.0  # seconds for workers to listen again after their last root
JUDGED_WITHIN = 1.5  # seconds, of the 3 before it tries again
ENDED_WITHIN = 5.0  # seconds for a killed process to be gone
ASKED_WITHIN = 5.0  # seconds for one answer of a server that has nothing else to do
TROUBLE_WITHIN = 1.0  # seconds between a broken answer and the reason for it
_STEP = 0.1


class DllamaCoordinator:
    """As process.coordinator.Coordinator. It has no key, and answers one request at a time: whoever asks holds `turn`."""

    engine = DLLAMA
    key: str | None = None
    has_relays = False

    def __init__(
        self,
        plan: Plan,
        start: Start,
        header: DllamaHeader,
        *,
        bus: Bus,
        workers: DllamaWorkers,
        ledger: CoordinatorLedger,
        logs: Path,
        variables: Mapping[str, str],
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        self.plan = plan
        self.start = start
        self.name = f"coordinator {plan.model.name}"
        self.port: int | None = None
        self.generating = 0  # answers being written, or waited for
        self.turn = asyncio.Lock()
        self.lost = ""  # the workers that ended it, in words
        self.is_reconnecting = False
        self._header = header
        self._bus = bus
        self._workers = workers
        self._ledger = ledger
        self.entry = Entry(plan, secrets.token_urlsafe(24), log_of(logs, plan), Process.of_us())
        self._patience = patience
        self._work: Work | None = None
        self._starting = asyncio.Lock()
        self._judging: asyncio.Task[bool] | None = None
        self._is_retrying = False  # it is about to begin anew
        self._stops = 0
        self._variables = inherited(variables) | {KEY: self.entry.key}  # it has no use for it: it is how its process is known again
        self._stdbuf = shutil.which("stdbuf", path=variables.get("PATH"))  # without it the log is late, and is lost with a crash
        self.child = self._new_child(bus)

    @property
    def state(self) -> State:
        return self.child.state

    @property
    def is_busy(self) -> bool:
        return self.generating > 0

    @property
    def url(self) -> str | None:
        return f"http://{HOST}:{self.port}" if self.port and self.child.pid else None

    async def ensure_ready(self) -> None:
        """Return once it serves over all workers of the plan. Raises EngineError, which names a worker that is absent."""
        async with self._starting:
            await self.settled()
            if self.state is State.READY:
                return
            with self._bus.work(f"{self.plan.model.name} loading") as work:
                self._work = work
                try:
                    await self._start()
                finally:
                    self._work = None
        self._workers.served(self.plan.workers)
        sizes = tuple((share.endpoint, share.model_bytes) for share in self.shares())
        self._bus.publish(ModelPlaced(coordinator=self.name, model=self.plan.model.name, bytes_by_device=sizes))

    def traffic(self) -> tuple[Traffic, ...]:
        return ()

    async def stop(self) -> None:
        self._stops += 1
        if self._judging:
            self._judging.cancel()
        await self.child.stop()

    def shares(self) -> tuple[Share, ...]:
        """By the header: dllama-api does not tell. Nothing while it is down."""
        held = shares_of(self._header, self.plan.workers, self.plan.context) if self.child.pid else ()
        return tuple(
            Share(str(share.endpoint or HERE), share.weight_bytes, share.kv_bytes, share.compute_bytes, share.layers) for share in held
        )

    async def settled(self, *, within: float = 0.0) -> bool:
        """
        Wait until it is known whether it serves: it may have lost a worker, and have it again or be ended. Whether it was so.

        `within`: seconds in which trouble may still show; it breaks off an answer before it stops listening.
        """
        end = time.monotonic() + within
        while self._judging is None and self.state is State.READY:
            if not await self._listens():
                self._judge()
            elif time.monotonic() >= end or await self.child.exited(_STEP):
                break
        judging, was_lost = self._judging, False
        if judging:
            await asyncio.wait([judging])
            was_lost = not judging.cancelled() and judging.result()
        if self.lost:
            await self.child.exited(ENDED_WITHIN)
        return was_lost or self.state is not State.READY

    async def absent(self) -> tuple[Endpoint, ...]:
        """The workers that do not listen again now that it is down. Those that wait for a frozen one are frozen too."""
        return tuple(await self._workers.absent(self.plan.workers, within=ABSENT_WITHIN))

    def _new_child(self, bus: Bus) -> Child:
        return Child(
            Spec(self.name, (), self._variables, self.entry.log),
            bus,
            is_ready=self._is_ready,
            on_line=self._hear,
            on_change=self._changed,
            sign_of_life=lambda child: tell_reading(child.pid, self.plan.model, self._work),
            explain=lambda child: self.lost or explain(child.last_words),
            on_spawn=self._spawned,
            patience=self._patience,
        )

    async def _start(self) -> None:
        self.entry = dataclasses.replace(self.entry, process=None)
        self._ledger.claim(self.entry)  # first: it may know who has the workers that seem to be down
        try:
            async with self._workers.asking:  # one that is being proved is away for a moment
                self._workers.hold(self.plan.workers, self.name)
            await self._start_at_a_port()
        except BaseException:
            if self.child.pid is None:
                self._set_free()
            raise

    async def _start_at_a_port(self) -> None:
        first, stops = FIRST_PORT, self._stops
        for tries_left in range(PORTS - 1, -1, -1):
            if absent := await self._workers.absent(self.plan.workers, within=ABSENT_WITHIN):
                raise EngineError(f"dllama worker {_listed(absent)}", hint="try: dllama check")
            if self._stops != stops:
                raise EngineError(f"{self.name} was stopped while it started")
            self.port = free_port(HOST, first)
            first = self.port + 1
            argv = command_line(self.start, self.plan, self.port, self._stdbuf)
            self.child.spec = Spec(self.name, argv, self._variables, self.child.spec.log)
            try:
                await self.child.ensure_ready()
                break
            except EngineError:
                if not (tries_left and has_no_port(self.child.last_words)):
                    raise
            self._bus.publish(Noticed(text=f"port {self.port} was taken while {self.plan.model.name} loaded; trying the next"))

    def _hear(self, line: str) -> None:
        if is_reconnecting(line):
            self._judge()
        elif self._work and (doing := step_of(line)):
            self._work.update(f"{self.plan.model.name} loading · {doing}")

    def _changed(self, state: State) -> None:
        if state is State.STARTING:
            self.lost = ""
            self._workers.hold(self.plan.workers, self.name)
        elif state in (State.STOPPED, State.FAILED):
            self._set_free()

    def _set_free(self) -> None:
        self._workers.release(self.name)
        self._ledger.erase(self.entry)

    def _spawned(self, pid: int) -> None:
        self.entry = dataclasses.replace(self.entry, process=Process.of(pid))
        self._ledger.write(self.entry)

    def _judge(self) -> None:
        self._is_retrying = True
        if self._judging is None:
            self._judging = asyncio.create_task(self._run_to_judgement())
            self._judging.add_done_callback(self._judged)

    def _judged(self, judging: asyncio.Task[bool]) -> None:
        self._judging, self.is_reconnecting = None, False
        judging.cancelled() or judging.exception()

    async def _run_to_judgement(self) -> bool:
        """Whether it was true: where it still listens, a prompt or an answer in the log said so, and not the program."""
        end = time.monotonic() + self._patience.start
        while not await self._listens() and not await self.child.exited(0):
            self.is_reconnecting = True
            with self._bus.work(f"{self.plan.model.name}: reconnecting to its workers"):
                await self._reconnect(end)
        return self.is_reconnecting

    async def _reconnect(self, end: float) -> None:
        """Until it listens, or is ended; or tries once more, so that its workers have to be looked at again."""
        self._is_retrying = False
        if absent := await self._workers.absent(self.plan.workers, within=JUDGED_WITHIN):
            self._end(f"worker {', '.join(map(str, absent))} was lost")
        while not (self._is_retrying or await self._listens() or await self.child.exited(_STEP)):
            if time.monotonic() > end:
                self._end(f"it lost its workers and was not back within {self._patience.start:g} s")

    def _end(self, cause: str) -> None:
        """At once and without a word: in a moment it would try again."""
        self.lost = cause
        if pid := self.child.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    async def _is_ready(self, child: Child) -> bool:
        if self._judging or not await self._listens():
            return False
        assert self.port
        return isinstance(await identify(Endpoint(HOST, self.port), within=ASKED_WITHIN), Backend)

    async def _listens(self) -> bool:
        return self.port is not None and await listens(self.child.pid, self.port)


def _listed(absent: Mapping[Endpoint, str]) -> str:
    return ", ".join(f"{endpoint} {why}" for endpoint, why in absent.items())
