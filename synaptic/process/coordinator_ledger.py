"""
The coordinators of this machine, whoever started them: one file per model, in a folder that all our programs share.

    NAME.json     the coordinator: written before its process starts, so that none is ever unknown
    NAME.lock     held while one is started or stopped
    NAME.busy     held by everyone for whom it answers at this moment
    NAME.stopped  the process that was stopped on purpose last: who shares it knows that it did not crash
    ledger.lock   held for each change, so that no two claim the same workers

An entry proves nothing by itself: its process must be the same start of the same program (see the ledger of workers).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from synaptic.errors import EngineError, SynapticError, unwritten
from synaptic.files import appearing
from synaptic.process.coordinator_entry import Entry, Process, decoded, encoded, of_key
from synaptic.process.flocks import Flock, held
from synaptic.process.reading import resident_bytes

WITHIN = 3.0  # seconds for a change by someone else
TURN = 0.05  # seconds between two looks whether a model is free to be started


class CoordinatorLedger:
    """Without a `folder` nothing is written, and nobody else is seen."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._turns: dict[str, asyncio.Lock] = {}
        self._taken: set[str] = set()  # models whose turn is ours
        self._is_changing = False

    def entries(self) -> list[Entry]:
        """Those that live. What is left of others is erased; one whose pid was never written is found by its key."""
        found = [(path, decoded(path)) for path in sorted(self._folder.glob("*.json"))] if self._folder else []
        return [entry for path, each in found if (entry := self._confirmed(path, each))]

    def claim(self, entry: Entry) -> None:
        """Write it, before its process starts. Raises EngineError when another one holds its model or a worker."""
        with self._changing():
            for other in self.entries():
                if other.plan.model.name == entry.plan.model.name:
                    raise EngineError(f"{other.plan.model.name} is {other.whose}", hint="try: coordinator list")
                if shared := set(other.plan.workers) & set(entry.plan.workers):
                    raise in_use(str(min(shared)), other)
            self._put(entry)

    def write(self, entry: Entry) -> None:
        with self._changing():
            self._put(entry)

    def erase(self, entry: Entry) -> None:
        """If it is still this start that is written there."""
        with self._changing():
            if self._folder and (now := decoded(self._path(entry.plan.model.name, "json"))) and now.key == entry.key:
                self._path(entry.plan.model.name, "json").unlink(missing_ok=True)

    def mark_stopped(self, entry: Entry) -> None:
        if self._folder and entry.process:
            with contextlib.suppress(OSError):  # a full disk: others will call it a crash
                _replace(self._path(entry.plan.model.name, "stopped"), _start_of(entry.process))

    def was_stopped(self, entry: Entry) -> bool:
        """Whether it ended, or will, because someone asked for it."""
        try:
            path = self._path(entry.plan.model.name, "stopped") if self._folder else None
            return bool(path and entry.process and path.read_text() == _start_of(entry.process))
        except OSError:
            return False

    def busy(self, model: str) -> Flock | None:
        """Held from now on, together with everyone else for whom it answers; None: nobody can be told."""
        with contextlib.suppress(OSError):
            lock = self._lock(model, "busy")
            if lock and lock.take_soon(shared=True):
                return lock
        return None

    def is_busy(self, model: str) -> bool:
        """Whether it answers for anyone."""
        return self._is_held(model, "busy")

    @contextlib.asynccontextmanager
    async def turn(
        self, model: str, patience: float, tell: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
    ) -> AsyncIterator[None]:
        """Nobody else starts or stops a coordinator of `model` meanwhile. Raises EngineError after `patience` s without progress.

        `tell()` is open while another program is waited for.
        """
        async with self._turns.setdefault(model, asyncio.Lock()):
            with self._writing():
                lock = self._lock(model)
                is_free = lock is None or lock.take()
            if lock and not is_free:
                with tell():
                    await self._wait(lock, model, patience)
            self._taken.add(model)
            try:
                yield
            finally:
                self._taken.discard(model)
                if lock:
                    lock.give_back()

    @contextlib.contextmanager
    def turn_if_free(self, model: str) -> Iterator[None]:
        """For a stop: it need not wait for the start that it ends, nor for a disk."""
        lock = None
        with contextlib.suppress(OSError):
            lock = self._lock(model)
            if lock:
                lock.take()
        try:
            yield
        finally:
            if lock:
                lock.give_back()

    async def _wait(self, lock: Flock, model: str, patience: float) -> None:
        moved, sign = time.monotonic(), None
        while not lock.take():
            if (now := self._sign(model)) != sign:
                moved, sign = time.monotonic(), now
            elif time.monotonic() - moved > patience:
                raise EngineError(
                    f"another shell starts {model}, without progress for {patience:g} s", hint=f"try: coordinator stop {model}"
                )
            await asyncio.sleep(TURN)

    def _confirmed(self, path: Path, entry: Entry | None) -> Entry | None:
        if entry and entry.is_alive:
            return entry
        if entry and entry.process is None:
            if entry.owner.is_alive or self._is_taken(entry.plan.model.name):
                return entry  # its process starts at this moment
            if process := of_key(entry.key, entry.owner.executable):
                return dataclasses.replace(entry, process=process)
        with contextlib.suppress(SynapticError), self._changing():  # it stays where nothing can be written
            if decoded(path) == entry:
                path.unlink(missing_ok=True)
        return None

    def _is_taken(self, model: str) -> bool:
        """Also true while a child of a dead shell was forked and has not closed what it inherited."""
        return model not in self._taken and self._is_held(model, "lock")

    def _is_held(self, model: str, kind: str) -> bool:
        with contextlib.suppress(OSError):
            lock = self._lock(model, kind)
            if lock and not lock.take_soon():
                return True
            if lock:
                lock.give_back()
        return False

    def _sign(self, model: str) -> object:
        """Something that changes while its start moves on."""
        assert self._folder
        entry = decoded(self._path(model, "json"))
        if entry is None or entry.process is None:
            return entry
        with contextlib.suppress(OSError):
            return entry, entry.log.stat().st_size, resident_bytes(entry.process.pid) >> 20
        return entry

    def _put(self, entry: Entry) -> None:
        if self._folder:
            _replace(self._path(entry.plan.model.name, "json"), encoded(entry))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Again inside itself, it does nothing."""
        if self._folder is None or self._is_changing:
            yield
            return
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with held(self._folder / "ledger.lock", WITHIN):
                self._is_changing = True
                try:
                    yield
                finally:
                    self._is_changing = False

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritten(self._folder, error) from error

    def _lock(self, model: str, kind: str = "lock") -> Flock | None:
        if self._folder is None:
            return None
        path = self._path(model, kind)
        if not path.exists():  # asked at every answer
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Flock(path)

    def _path(self, model: str, kind: str) -> Path:
        assert self._folder
        short = re.sub(r"[^A-Za-z0-9._-]+", "-", model)[-60:]
        return self._folder / f"{short}-{hashlib.sha256(model.encode()).hexdigest()[:8]}.{kind}"


def in_use(what: str, entry: Entry) -> EngineError:
    return EngineError(f"{what} is in use by {entry.holder}", hint=f"wait for it, or: coordinator stop {entry.plan.model.name}")


def _start_of(process: Process) -> str:
    return f"{process.pid} {process.started}"


def _replace(path: Path, text: str) -> None:
    """All or nothing for whoever reads; a power cut may take it, and takes the processes too."""
    with appearing(path) as file:
        file.write(text.encode())
