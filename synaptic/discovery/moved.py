"""
Workers that are evidently at another address now: proposed, never changed. Their machine is told by what was remembered
when they were saved: its network card, or the name that zeroconf or Consul has for it. Nobody is asked for this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from synaptic.cluster.backend import State
from synaptic.cluster.pool import Pool, Record
from synaptic.discovery.neighbours import Neighbours, cards, read_neighbours
from synaptic.discovery.sweep import host_of
from synaptic.endpoint import Endpoint
from synaptic.events import Bus, Noticed
from synaptic.settings.origins import Origin

Remembered = Mapping[Endpoint, Origin]


@dataclasses.dataclass(frozen=True)
class Move:
    """`old` does not answer; `new` does, and `why` it is the same."""

    old: Endpoint
    new: Endpoint
    why: str
    is_known: bool = False  # the new one

    def __str__(self) -> str:
        return f"{self.old} is probably {self.new} now ({self.why})"

    @property
    def sentence(self) -> str:
        add = "" if self.is_known else f"rpc add {self.new}; "
        return f"{self}   try: {add}rpc remove {self.old}"


def moves(lost: Remembered, here: Remembered) -> list[Move]:
    """Each lost one that only one of those here can be: at the same port of the same machine."""
    return [move for endpoint, origin in lost.items() if (move := _move(endpoint, origin, here))]


class Whereabouts:
    """`remembered`: of the saved ones. Everything is told once, by `told` in a result or by itself."""

    def __init__(
        self, bus: Bus, pool: Pool, remembered: Callable[[], Remembered], neighbours: Callable[[], Neighbours] = read_neighbours
    ) -> None:
        self._bus = bus
        self._pool = pool
        self._remembered = remembered
        self._neighbours = neighbours
        self._told: set[tuple[Endpoint, Endpoint]] = set()

    def marks(self, answered: Iterable[Endpoint], instances: Mapping[Endpoint, str] | None = None) -> dict[Endpoint, Origin]:
        """What to remember of those that answered just now: of each of which anything is known."""
        before, named = self._remembered(), instances or {}
        wanted = list(dict.fromkeys(answered))
        seen = cards(wanted, self._neighbours())
        marks: dict[Endpoint, Origin] = {}
        for endpoint in wanted:
            old = before.get(endpoint, Origin())
            mark = dataclasses.replace(old, mac=seen.get(endpoint, old.mac), instance=named.get(endpoint) or old.instance)
            if mark != Origin():
                marks[endpoint] = mark
        return marks

    def suspects(self, answered: Iterable[Endpoint], instances: Mapping[Endpoint, str] | None = None) -> list[Move]:
        """Saved ones that may be one that answered; whether they are lost is not looked at."""
        here = list(dict.fromkeys(answered))
        others = {endpoint: origin for endpoint, origin in self._remembered().items() if endpoint not in here}
        found = moves(others, self.marks(here, instances)) if any(each != Origin(each.source) for each in others.values()) else []
        return [dataclasses.replace(move, is_known=self._pool.record(move.new) is not None) for move in found]

    async def confirmed(self, suspects: Iterable[Move], *, within: float) -> list[Move]:
        """Those whose old address does not answer, asked now as far as that does no harm. They count as told."""
        asked = {move: await self._pool.check([move.old], within=within) for move in suspects}
        lost = {record.endpoint for record in self._pool.records() if is_lost(record)}
        told = [move for move in asked if move.old in lost]
        self.told(told)
        return told

    def now(self) -> list[Move]:
        """Of the known ones, as the pool has them now."""
        lost = {record.endpoint for record in self._pool.records() if is_lost(record)}
        ready = [backend.endpoint for backend in self._pool.ready() if backend.endpoint not in lost]
        return [move for move in self.suspects(ready) if move.old in lost] if lost else []

    def told(self, told: Iterable[Move]) -> None:
        self._told.update((move.old, move.new) for move in told)

    def tell(self) -> None:
        for move in self.now():
            if (move.old, move.new) not in self._told:
                self.told([move])
                self._bus.publish(Noticed(text=move.sentence, attention=True))


def is_lost(record: Record) -> bool:
    """A busy one is there."""
    return record.state is State.UNREACHABLE or (record.state is State.IN_USE and record.health == "lost")


def _move(old: Endpoint, origin: Origin, here: Remembered) -> Move | None:
    if host_of(old.host) is None:  # a name is looked up anew, and finds its machine itself
        return None
    for what, why in (("mac", "same network card"), ("instance", f"same name in {origin.instance.partition(' ')[0]}")):
        mark = getattr(origin, what)
        there = [endpoint for endpoint, each in here.items() if mark and endpoint.port == old.port and getattr(each, what) == mark]
        if len(there) == 1:
            return Move(old, there[0], why)
    return None
