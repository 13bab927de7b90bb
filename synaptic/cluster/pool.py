"""
The workers we know, and what we last heard of each.

The one door to a worker: `ask` never speaks to one that a coordinator of ours holds, shares a handshake that is
already under way (a worker serves one connection at a time), and leaves a silent one alone for a minute (two unread
HELLOs fill a busy worker's queue, and the next connection is dropped).
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from synaptic.cluster.backend import Backend, Device, Kind, State
from synaptic.cluster.handshake import WITHIN, Foreign, Version, shake
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError
from synaptic.events import BackendChecked, Bus

REST_SECONDS = 60.0
_AT_ONCE = 100
_ANSWERED = (State.IDLE, State.INCOMPATIBLE)


class Shake(Protocol):
    async def __call__(self, endpoint: Endpoint, *, within: float, speaks: Version | None) -> Backend | Foreign: ...


@dataclasses.dataclass(frozen=True)
class Record(Backend):
    """A backend and its history: the record of `rpc list --json`. Times in seconds since the epoch.

    health: ready, incompatible, lost (it did answer once), down or busy (it never did), unknown (not asked yet).
    """

    health: str = "unknown"
    last_seen: float | None = None
    since: float = 0.0


@dataclasses.dataclass(frozen=True)
class _Silence:
    until: float
    answer: Backend


class Pool:
    """`speaks` is the protocol of the engine here, when it is known. `clock` runs steadily, `wall` tells the time."""

    def __init__(
        self,
        bus: Bus,
        *,
        kind: Kind = Kind.RPC,
        shake: Shake = shake,
        speaks: Version | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.speaks = speaks
        self._kind = kind
        self._bus = bus
        self._shake = shake
        self._clock = clock
        self._wall = wall
        self._answers: dict[Endpoint, Backend] = {}
        self._records: dict[Endpoint, Record] = {}
        self._holders: dict[Endpoint, str] = {}
        self._silences: dict[Endpoint, _Silence] = {}
        self._rests: dict[Endpoint, float] = {}  # left out until then: they come and go
        self._doubts: dict[Endpoint, str] = {}  # held, and their ports do not answer: why
        self._asking: dict[Endpoint, asyncio.Task[Backend | Foreign]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def backends(self) -> list[Backend]:
        return list(self._records.values())

    def ready(self) -> list[Backend]:
        return [record for record in self._records.values() if record.is_ready]

    def records(self) -> list[Record]:
        return list(self._records.values())

    def record(self, endpoint: Endpoint) -> Record | None:
        """None: not a known worker."""
        return self._records.get(endpoint)

    def set_known(self, known: Iterable[tuple[Endpoint, str]]) -> None:
        """Know exactly these, each with where we heard of it; what is known of them already stays."""
        sources = dict(known)
        self.remove([endpoint for endpoint in self._records if endpoint not in sources])
        for endpoint, source in sources.items():
            self.add([endpoint], source)

    def add(self, endpoints: Iterable[Endpoint], source: str) -> None:
        for endpoint in endpoints:
            before = self._answers.get(endpoint) or self._unasked(endpoint)
            self._settle(dataclasses.replace(before, source=source))

    def learn(self, found: Iterable[Backend]) -> None:
        """Know these, as their handshake proved them just now."""
        for backend in found:
            self.add([backend.endpoint], backend.source)
            self._remember(backend)

    def remove(self, endpoints: Iterable[Endpoint]) -> None:
        """A held one stays held."""
        for endpoint in endpoints:
            self._answers.pop(endpoint, None)
            self._records.pop(endpoint, None)
            self._rests.pop(endpoint, None)
            self._doubts.pop(endpoint, None)

    def holder(self, endpoint: Endpoint) -> str | None:
        return self._holders.get(endpoint)

    def hold(self, endpoints: Iterable[Endpoint], owner: str) -> None:
        """All or none. Raises BackendError for one that another owner holds."""
        wanted = list(endpoints)
        for endpoint in wanted:
            if (other := self._holders.get(endpoint, owner)) != owner:
                raise BackendError(f"{endpoint} is in use by {other}", hint="try: coordinator list")
        self._holders.update(dict.fromkeys(wanted, owner))
        self._settle_known(wanted)

    def release(self, owner: str, only: Endpoint | None = None) -> None:
        """What the owner held, all or one, is again what its last handshake proved; what was lost meanwhile is unreachable."""
        freed = [endpoint for endpoint, holder in self._holders.items() if holder == owner and only in (None, endpoint)]
        for endpoint in freed:
            del self._holders[endpoint]
            if (doubt := self._doubts.pop(endpoint, None)) and (answer := self._answers.get(endpoint)):
                self._answers[endpoint] = _unreachable(answer, doubt)
        self._settle_known(freed)

    def witness(self, endpoint: Endpoint, *, is_open: bool, detail: str = "", rest: float = 0.0) -> None:
        """
        What looking at its port without a word tells of a known worker.

        Not open: it is unreachable (a held one stays held, its health is lost), and left out for `rest` seconds. Open: it may be asked.
        """
        answer = self._answers.get(endpoint)
        if answer is None:
            return
        if is_open:
            self._rests.pop(endpoint, None)
            self._doubts.pop(endpoint, None)
        elif endpoint in self._holders:
            self._doubts[endpoint] = detail
        else:
            self._rests[endpoint] = self._clock() + rest
            answer = _unreachable(answer, detail)
        self._settle(answer)

    async def check(self, endpoints: Iterable[Endpoint] | None = None, *, within: float = WITHIN) -> list[Backend]:
        """Ask these, or all known ones, in parallel. Those not known are answered for, but not added."""
        wanted = dict.fromkeys(list(self._records) if endpoints is None else endpoints)
        return list(await asyncio.gather(*(self._check(endpoint, within) for endpoint in wanted)))

    async def ask(self, endpoint: Endpoint, *, within: float = WITHIN) -> Backend | Foreign:
        """Shake hands with what lives at `endpoint`, known or not, if that can do no harm now; else say what we know."""
        if owner := self._holders.get(endpoint):
            return _in_use(self._answers.get(endpoint) or self._unasked(endpoint), owner, self._doubts.get(endpoint))
        if (left := self._rests.get(endpoint, 0.0) - self._clock()) > 0:
            return dataclasses.replace(self._answers[endpoint], detail=f"{self._answers[endpoint].detail}; left out for {left:.0f} s")
        if (silence := self._silences.get(endpoint)) and (left := silence.until - self._clock()) > 0:
            return dataclasses.replace(silence.answer, detail=f"{silence.answer.detail}; not asked again for {left:.0f} s")
        task = self._asking.get(endpoint)
        if task is None:
            task = self._asking[endpoint] = asyncio.create_task(self._ask(endpoint, within))
            task.add_done_callback(lambda _: self._asking.pop(endpoint, None))
        return await asyncio.shield(task)  # whoever else waits for it must not lose it

    async def _check(self, endpoint: Endpoint, within: float) -> Backend:
        answer = _as_backend(await self.ask(endpoint, within=within))
        record = self._records.get(endpoint)
        return dataclasses.replace(record, detail=answer.detail) if record else answer

    async def _ask(self, endpoint: Endpoint, within: float) -> Backend | Foreign:
        async with self._slots:
            answer = await self._shake(endpoint, within=within, speaks=self.speaks)
        self._remember(_as_backend(answer))
        return answer

    def _remember(self, answer: Backend) -> None:
        endpoint = answer.endpoint
        if endpoint in self._holders:  # taken while we asked: the silence we met is our own coordinator's
            return
        self._silences.pop(endpoint, None)
        self._rests.pop(endpoint, None)
        if answer.state is State.BUSY:
            self._silences[endpoint] = _Silence(self._clock() + REST_SECONDS, answer)
        if before := self._answers.get(endpoint):
            version, devices = _proven(answer, before)
            self._settle(dataclasses.replace(answer, version=version, devices=devices, source=before.source), is_news=True)

    def _unasked(self, endpoint: Endpoint) -> Backend:
        return Backend(endpoint, self._kind, State.UNVERIFIED)

    def _settle_known(self, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            if answer := self._answers.get(endpoint):
                self._settle(answer)

    def _settle(self, answer: Backend, *, is_news: bool = False) -> None:
        """The one place where a record changes; says so when its state does."""
        endpoint, now = answer.endpoint, self._wall()
        owner, before = self._holders.get(endpoint), self._records.get(endpoint)
        doubt = self._doubts.get(endpoint)
        shown = _in_use(answer, owner, doubt) if owner else answer
        last_seen = now if is_news and answer.state in _ANSWERED else before.last_seen if before else None
        since = before.since if before and before.state is shown.state else now
        self._answers[endpoint] = answer
        self._records[endpoint] = record = _record(shown, last_seen, since, is_doubted=doubt is not None)
        was = (before.state, before.health) if before else (State.UNVERIFIED, "unknown")
        if shown.state is not was[0] or (owner and record.health != was[1]):
            told = BackendChecked(
                endpoint=endpoint, kind=shown.kind.value, state=shown.state.value, detail=shown.detail, health=record.health
            )
            self._bus.publish(told)


def in_use(endpoint: Endpoint, owner: str) -> Backend:
    return _in_use(Backend(endpoint, Kind.RPC, State.UNVERIFIED), owner, None)


def _in_use(answer: Backend, owner: str, doubt: str | None) -> Backend:
    return dataclasses.replace(answer, state=State.IN_USE, detail=f"in use by {owner}{f', but {doubt}' if doubt else ''}")


def _unreachable(answer: Backend, why: str) -> Backend:
    return dataclasses.replace(answer, state=State.UNREACHABLE, latency_ms=None, detail=why)


def _as_backend(answer: Backend | Foreign) -> Backend:
    if isinstance(answer, Backend):
        return answer
    what = "an HTTP server lives there, no rpc-server" if answer.reason == "http" else f"no rpc-server lives there: it {answer.detail}"
    return Backend(answer.endpoint, Kind.RPC, State.UNREACHABLE, detail=what)


def _proven(answer: Backend, before: Backend) -> tuple[str | None, tuple[Device, ...]]:
    """One that went silent keeps what it proved when it last answered."""
    return (answer.version, answer.devices) if answer.state in _ANSWERED else (before.version, before.devices)


def _record(shown: Backend, last_seen: float | None, since: float, *, is_doubted: bool) -> Record:
    return Record(
        shown.endpoint,
        shown.kind,
        shown.state,
        shown.version,
        shown.devices,
        shown.latency_ms,
        shown.source,
        shown.detail,
        health="lost" if is_doubted else _health(shown.state, last_seen),
        last_seen=last_seen,
        since=since,
    )


def _health(state: State, last_seen: float | None) -> str:
    if state in (State.IDLE, State.IN_USE):
        return "ready"
    if state in (State.BUSY, State.UNREACHABLE) and last_seen is not None:
        return "lost"
    return {State.BUSY: "busy", State.UNREACHABLE: "down", State.INCOMPATIBLE: "incompatible"}.get(state, "unknown")
