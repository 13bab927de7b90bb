"""
Workers on this machine: llama.cpp's rpc-servers, and our own for distributed-llama.

A worker outlives the command that started it: it is written into the ledger, and any later session lists it, uses it
and stops it. While the session that started it lives it is supervised: one that dies is started again on its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import random
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError, SynapticError, UsageError, os_reason
from synaptic.events import Bus, Noticed
from synaptic.models.tensor_cache import drop_unfinished
from synaptic.process.child import Child, Patience, State
from synaptic.process.install import Engines
from synaptic.process.ledger import Entry, Ledger, identity, wait_gone
from synaptic.process.llama_log import explain
from synaptic.process.restart import delay
from synaptic.process.spawn import Spec
from synaptic.process.worker_command import FIRST_PORTS, RPC, Start, start_of

HOST = "127.0.0.1"
PATIENCE = Patience(start=10.0, terms=(2.0, 2.0))
UNFINISHED = 5.0  # seconds before a worker's end; what it wrote then may be incomplete


@dataclasses.dataclass(frozen=True)
class LocalWorker:
    endpoint: Endpoint
    engine: str
    pid: int
    log: Path
    cache: Path | None = None  # where it keeps the tensors it was sent


class Workers:
    def __init__(self, engines: Engines, bus: Bus, *, state: Path | None, logs: Path, variables: Mapping[str, str]) -> None:
        self._engines = engines
        self._bus = bus
        self._ledger = Ledger(state)
        self._logs = logs
        self._variables = variables
        self._children: dict[Endpoint, Child] = {}
        self._how: dict[Endpoint, Start] = {}
        self._staying: set[Endpoint] = set()
        self._starts: dict[Endpoint, list[float]] = {}
        self._revivals: dict[Endpoint, asyncio.Task[None]] = {}

    def all(self) -> list[LocalWorker]:
        """Those that live, whoever started them."""
        return [LocalWorker(entry.endpoint, entry.engine, entry.pid, entry.log, entry.cache) for entry in self._ledger.entries()]

    def of(self, engine: str = RPC) -> list[LocalWorker]:
        """Those of one kind."""
        return [worker for worker in self.all() if worker.engine == engine]

    def ending_with_us(self) -> list[Endpoint]:
        """Those that this session started and that shall not outlive it."""
        return [endpoint for endpoint in self._children if endpoint not in self._staying]

    async def start(
        self,
        count: int,
        *,
        host: str = HOST,
        port: int | None = None,
        threads: int | None = None,
        cache: Path | None = None,
        engine: str = RPC,
        stay: bool = False,
        certificate: Path | None = None,
        clients: Path | None = None,
        model: Path | None = None,
    ) -> list[LocalWorker]:
        """Start `count` workers on the next free ports from `port`; all of them or none. `stay`: longer than this session.

        `cache` is a folder called rpc, in which rpc-servers keep the large tensors that they are sent; `model` a .m file
        from which workers of our own for distributed-llama take their weights.
        """
        if not 1 <= count <= 64:
            raise UsageError(f"{count} workers", hint="--count is 1 to 64")
        how = start_of(engine, self._engines, threads, cache, certificate, clients, model)
        started: list[LocalWorker] = []
        next_port = port or FIRST_PORTS[engine]
        with self._bus.work(f"starting {count} workers" if count > 1 else "starting a worker"):
            try:
                for _ in range(count):
                    worker = await self._start_one(how, host, next_port)
                    started.append(worker)
                    next_port = worker.endpoint.port + 1
            except BaseException:
                await self.stop([worker.endpoint for worker in started])
                raise
        self._staying.update(worker.endpoint for worker in started if stay)
        return started

    async def stop(self, endpoints: list[Endpoint] | None = None) -> list[Endpoint]:
        """Stop these, or all; the ones that ran. Raises BackendError for one that is not ours to stop."""
        living = {entry.endpoint: entry for entry in self._ledger.entries()}
        stoppable = sorted({*living, *self._children})
        for endpoint in endpoints or ():
            if endpoint not in stoppable:
                raise BackendError(f"{endpoint} is no worker that was started here", hint="try: worker list")
        chosen = stoppable if endpoints is None else endpoints
        await asyncio.gather(*(self._stop_one(endpoint, living.get(endpoint)) for endpoint in chosen))
        return chosen

    def let_go(self) -> None:
        for revival in self._revivals.values():
            revival.cancel()
        for child in self._children.values():
            child.let_go()

    async def _start_one(self, how: Start, host: str, port: int) -> LocalWorker:
        endpoint = Endpoint(host, free_port(host, port) if how.certificate is None else _free_on_both(host, port))
        where = "" if host == HOST else f"{host.replace(':', '.')}-"
        log = self._logs / f"worker-{where}{endpoint.port}.log"
        child = Child(
            Spec(f"worker {endpoint}", how.words(endpoint), how.variables(self._variables), log),
            self._bus,
            is_ready=lambda child: listens(child.pid, endpoint.port, HOST if how.certificate else None),
            on_change=lambda state: self._changed(endpoint, state),
            explain=lambda child: explain(child.last_words),
            patience=PATIENCE,
        )
        await child.ensure_ready()
        self._children[endpoint] = child
        self._how[endpoint] = how
        return self._written_down(endpoint, child)

    def _written_down(self, endpoint: Endpoint, child: Child) -> LocalWorker:
        pid, log = child.pid, child.spec.log
        started = identity(pid) if pid else None
        if pid is None or started is None:
            raise EngineError(f"worker {endpoint} ended at once", hint=f"its log: {log}", details=tuple(child.last_words))
        how = self._how[endpoint]
        self._ledger.write(Entry(pid, started, endpoint, log, how.engine, how.cache))
        self._starts.setdefault(endpoint, []).append(time.monotonic())
        return LocalWorker(endpoint, how.engine, pid, log, how.cache)

    async def _stop_one(self, endpoint: Endpoint, entry: Entry | None) -> None:
        if revival := self._revivals.pop(endpoint, None):
            revival.cancel()
        if child := self._children.pop(endpoint, None):
            await child.stop()
        elif entry:
            for number in (signal.SIGTERM, signal.SIGKILL):
                entry.signal(number)
                if await asyncio.to_thread(wait_gone, entry, 3.0):
                    break
        how = self._how.pop(endpoint, None)
        _tidy(how.cache if how else entry.cache if entry else None)
        self._ledger.erase(endpoint)
        self._starts.pop(endpoint, None)

    def _changed(self, endpoint: Endpoint, state: State) -> None:
        if state is not State.FAILED or endpoint not in self._children:
            return
        child = self._children[endpoint]
        self._ledger.erase(endpoint)
        _tidy(self._how[endpoint].cache)
        wait = delay(self._starts.get(endpoint, ()), time.monotonic(), random.uniform(0.5, 1.5))
        what_next = "it stays down; try: worker start" if wait is None else f"starting it again in {wait:.0f} s"
        self._bus.publish(Noticed(text=f"worker {endpoint} {child.cause}; {what_next}", attention=True))
        if wait is None:
            self._children.pop(endpoint)
        else:
            self._revivals[endpoint] = asyncio.create_task(self._revive(endpoint, child, wait))

    async def _revive(self, endpoint: Endpoint, child: Child, wait: float) -> None:
        await asyncio.sleep(wait)
        with contextlib.suppress(SynapticError):  # `_changed` has heard of it
            await child.ensure_ready()
            self._written_down(endpoint, child)
            self._bus.publish(Noticed(text=f"worker {endpoint} is back"))


def free_port(host: str, first: int) -> int:
    """The next port from `first` that can be listened on. rpc-server takes no port 0 and exits with 0 on a taken one."""
    for port in range(first, min(first + 200, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise EngineError(
                        f"cannot listen on {host}: {os_reason(error)}", hint="--host is an address of this machine"
                    ) from error
                continue
            return port
    raise EngineError(f"no free port from {first} to {first + 199} on {host}", hint="try: worker start --port N")


def _free_on_both(host: str, first: int) -> int:
    """For a relay at `host` and the server behind it on loopback. Raises UsageError when they would be the same."""
    if host in (HOST, "0.0.0.0", "::", "localhost"):
        raise UsageError(
            f"a relay on {host} would take the port of the worker behind it", hint="--host is this machine's address in your network"
        )
    while (port := free_port(HOST, free_port(host, first))) != free_port(host, port):
        first = port + 1
    return port


async def listens(pid: int | None, port: int, host: str | None = None) -> bool:
    """At `host`, or anywhere: read from the kernel's tables: a connection would take the worker's only place; its output is buffered."""
    try:
        sockets = psutil.Process(pid).net_connections("tcp") if pid else []
    except psutil.Error:
        return False
    listening = [each.laddr for each in sockets if each.status == psutil.CONN_LISTEN]
    return any(address.port == port and host in (None, address.ip) for address in listening)


async def has_client(worker: LocalWorker) -> bool:
    """Whether a coordinator holds it: it may be loading. Read from the kernel's tables, as above."""
    try:
        sockets = await asyncio.to_thread(psutil.Process(worker.pid).net_connections, "tcp")
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_ESTABLISHED and each.laddr.port == worker.endpoint.port for each in sockets)


def _tidy(cache: Path | None) -> None:
    """A server that ended while it wrote a tensor leaves a short file, and would believe it the next time."""
    if cache:
        drop_unfinished(cache, time.time() - UNFINISHED)
