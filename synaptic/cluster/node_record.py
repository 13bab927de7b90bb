"""What we heard of one node, and measured at it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from synaptic.cluster.backend import State
from synaptic.cluster.circuit import Circuit
from synaptic.cluster.node import Node, NodeState
from synaptic.cluster.serving import Serving

if TYPE_CHECKING:
    from synaptic.cluster.asking import Heard, Unheard

NEWEST_WEIGHS = 0.3  # of a mean; after seven answers a tenth is left of the one before them


class Record:
    def __init__(self, node: Node, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.node = node
        self.running = 0
        self.reach = Circuit(clock)  # does it answer when it is asked what it is
        self.work = Circuit(clock)  # do its answers to prompts come to an end
        self._clock = clock
        self._wall = wall
        self._asked: float | None = None
        self._broke = ""
        self._found: Node | None = None  # as it was when asked: of which kind
        self._state = NodeState(node, since=wall())

    def state(self) -> NodeState:
        health, detail = self._state.health, self._state.detail
        if health == "ready" and not self.work.lets_in:
            left = f"left alone for {self.work.rest:.0f} s" if self.work.rest else "being tried again"
            health, detail = "resting", f"{self._broke}; {left}"
        return dataclasses.replace(self._state, node=self.node, running=self.running, health=health, detail=detail)

    def named(self, node: Node) -> None:
        """The settings' word for it; of which kind it is, it says itself."""
        self.node = dataclasses.replace(node, kind=self._found.kind) if self._found else node

    def is_younger_than(self, seconds: float) -> bool:
        return self._asked is not None and self._clock() - self._asked < seconds

    def heard(self, heard: Heard) -> None:
        self.reach.succeeded()
        self._asked = self._clock()
        self.node = self._found = dataclasses.replace(self.node, kind=heard.kind)
        self._settle(
            state=State.IDLE,
            health="ready",
            detail="",
            software=heard.software,
            version=heard.version,
            offers=heard.offers,
            memory=heard.memory,
            has_gpu=self._state.has_gpu or heard.on_gpu > 0,
            latency_ms=round(mean(self._state.latency_ms, heard.latency_ms), 2),
            last_seen=self._wall(),
            load=heard.load,
        )

    def unheard(self, unheard: Unheard) -> None:
        """What it offered when it last answered stays known."""
        self.reach.failed()
        self._asked = self._clock()
        self._settle(state=unheard.state, health="lost" if self._state.last_seen else "down", detail=unheard.detail, load=None)

    def served(self, serving: Serving) -> None:
        self.work.succeeded()
        if speed := serving.tokens_per_second:
            self._state = dataclasses.replace(self._state, tokens_per_second=round(mean(self._state.tokens_per_second, speed), 2))

    def failed(self, why: str) -> None:
        self.work.failed()
        self._broke = why

    def _settle(self, **news: object) -> None:
        before = self._state
        after = dataclasses.replace(before, node=self.node, **news)  # type: ignore[arg-type]  # the callers above name the fields
        moved = (before.state, before.health) != (after.state, after.health)
        self._state = dataclasses.replace(after, since=self._wall()) if moved else after


def mean(before: float | None, newest: float) -> float:
    """That decays: what was long ago counts less and less."""
    return newest if before is None else before + NEWEST_WEIGHS * (newest - before)
