"""
Events: what happened, said once, heard by whoever subscribed.

The bus belongs to the event loop. `publish` never blocks and never fails; a subscriber that falls behind
loses its oldest events and is told how many. The last 500 stay for whoever comes late; what is said many times a
second is counted apart, so that it does not push out what happened.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import heapq
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from synaptic.endpoint import Endpoint


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    at: float = dataclasses.field(default_factory=time.time)  # seconds since the epoch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chatter(Event):
    """Said many times a second."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackendChecked(Event):
    """What is known of a worker changed; `state` is its value in contracts.md, `health` that of its record."""

    endpoint: Endpoint
    kind: str
    state: str
    detail: str = ""
    health: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeActivity(Event):
    """Something at an Ollama node or another server. `what` is request, answer, failure or state; `detail` may be foreign text."""

    node: str  # its URL
    what: str
    model: str = ""
    detail: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChildChanged(Event):
    """A supervised process moved from one state to another."""

    child: str
    before: str
    after: str
    cause: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChildSpoke(Event):
    """A supervised process wrote a line to its log. Foreign text."""

    child: str
    line: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelPlaced(Event):
    """A coordinator's log proved which device holds how much."""

    coordinator: str
    model: str
    bytes_by_device: tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelayCounted(Event):
    """What has passed between a coordinator and one worker since its start; said at the end of an answer that came through relays."""

    model: str
    endpoint: str
    bytes_up: int
    bytes_down: int
    round_trips: int
    wait_ms: float | None
    network_ms: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RouteChosen(Event):
    model: str
    via: str
    why: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationStarted(Event):
    """An answer is on its way; `generation` is its number in this process, the same in every event of it."""

    model: str
    generation: int = 0
    via: str = ""
    where: str = ""  # "2 workers", or the address of the server
    why: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationProgressed(Event):
    """Published at most a few times a second while an answer streams."""

    model: str
    tokens: int
    tokens_per_second: float | None
    generation: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationWentOn(Event):
    """Whoever wrote the answer was lost, and another goes on with it. `cause` may be foreign text."""

    model: str
    lost: tuple[str, ...]
    cause: str
    tokens: int  # shown so far
    where: str = ""
    generation: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationFinished(Event):
    model: str
    complete: bool
    tokens: int
    tokens_per_second: float | None
    ttft_ms: float | None
    generation: int = 0
    cause: str = ""  # why it is not complete, where that is known


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingChanged(Event):
    key: str
    value: object


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noticed(Event):
    """A sentence the user should see soon, above the prompt."""

    text: str
    attention: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkStarted(Event):
    work: int
    what: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkProgressed(Event):
    """`done` of `total` in `unit` (all None: only the words changed)."""

    work: int
    what: str
    done: float | None = None
    total: float | None = None
    unit: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkFinished(Event):
    work: int
    what: str


E = TypeVar("E", bound=Event)
_CHATTER = (Chatter, ChildSpoke, GenerationProgressed, WorkProgressed)


class Subscription(Generic[E]):
    """What one listener has not read yet. `dropped` counts what it was too slow for."""

    def __init__(self, kinds: tuple[type[E], ...], limit: int) -> None:
        self.kinds = kinds
        self.queue: collections.deque[E] = collections.deque(maxlen=limit)
        self.dropped = 0
        self._ready = asyncio.Event()

    def offer(self, event: Event) -> None:
        if not isinstance(event, self.kinds):
            return
        if len(self.queue) == self.queue.maxlen:
            self.dropped += 1
        self.queue.append(event)
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[E]:
        while True:
            while self.queue:
                yield self.queue.popleft()
            self._ready.clear()
            await self._ready.wait()


class Work:
    """Something that takes a while; whoever draws progress hears of it."""

    def __init__(self, bus: Bus, number: int, what: str) -> None:
        self._bus = bus
        self._number = number
        self._what = what
        self._told: tuple[object, ...] = ()

    def update(self, what: str | None = None, *, done: float | None = None, total: float | None = None, unit: str = "") -> None:
        self._what = what or self._what
        news = (self._what, done, total, unit)
        if news == self._told:
            return
        self._told = news
        self._bus.publish(WorkProgressed(work=self._number, what=self._what, done=done, total=total, unit=unit))


class Bus:
    def __init__(self, remember: int = 500) -> None:
        self._facts: collections.deque[tuple[int, Event]] = collections.deque(maxlen=remember)
        self._chatter: collections.deque[tuple[int, Event]] = collections.deque(maxlen=remember)
        self._order = itertools.count()
        self._subscriptions: set[Subscription[Any]] = set()
        self._taps: list[Callable[[Event], None]] = []
        self._numbers = itertools.count(1)

    @property
    def history(self) -> list[Event]:
        """The last events, oldest first."""
        return [event for _, event in heapq.merge(self._facts, self._chatter)]

    def publish(self, event: Event) -> None:
        (self._chatter if isinstance(event, _CHATTER) else self._facts).append((next(self._order), event))
        for subscription in self._subscriptions:
            subscription.offer(event)
        for tap in self._taps:
            tap(event)

    def tap(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` synchronously with every event. For a face that repaints; it must be quick and never raise."""
        self._taps.append(listener)

    def untap(self, listener: Callable[[Event], None]) -> None:
        self._taps.remove(listener)

    @contextmanager
    def subscribe(self, *kinds: type[E], limit: int = 1000) -> Iterator[Subscription[E]]:
        subscription = Subscription(kinds, limit)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    @contextmanager
    def work(self, what: str) -> Iterator[Work]:
        number = next(self._numbers)
        self.publish(WorkStarted(work=number, what=what))
        try:
            yield Work(self, number, what)
        finally:
            self.publish(WorkFinished(work=number, what=what))
