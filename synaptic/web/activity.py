"""The answers of this program and its long works, as the events tell them: those that run, and the last that ended."""

from __future__ import annotations

import collections
import dataclasses

from synaptic.engines.root_events import Figures, RootAnswered, TokensPassed
from synaptic.events import (
    Event,
    GenerationFinished,
    GenerationProgressed,
    GenerationStarted,
    GenerationWentOn,
    WorkFinished,
    WorkProgressed,
    WorkStarted,
)
from synaptic.models.model import BUILTIN
from synaptic.web.machines import HERE

RECENT = 50


@dataclasses.dataclass(frozen=True)
class LostOn:
    """A failover: what was lost, after how many tokens, and where the answer went on."""

    at: float
    lost: tuple[str, ...]
    cause: str
    tokens: int
    where: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one token of a built-in root, in milliseconds. `waits`: worker → how long for it, where each is waited for apart."""

    computing_ms: float
    waiting_ms: float
    waits: tuple[tuple[str, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Generation:
    """Times in seconds since the epoch. state: waiting (for its first token), writing, done, incomplete."""

    number: int
    model: str
    via: str
    where: str
    why: str
    began: float
    state: str = "waiting"
    tokens: int = 0
    tokens_per_second: float | None = None
    ttft_ms: float | None = None
    ended: float | None = None
    cause: str = ""
    failovers: tuple[LostOn, ...] = ()
    cost: Cost | None = None


@dataclasses.dataclass(frozen=True)
class Work:
    what: str
    began: float
    done: float | None = None
    total: float | None = None
    unit: str = ""


class Activity:
    """Feed it every event; it never raises."""

    def __init__(self) -> None:
        self.running: dict[int, Generation] = {}
        self.recent: collections.deque[Generation] = collections.deque(maxlen=RECENT)
        self.works: dict[int, Work] = {}
        self.tokens = 0  # of all answers, so far

    @property
    def tokens_per_second(self) -> float:
        """Of all answers together, now."""
        return round(sum(each.tokens_per_second or 0.0 for each in self.running.values()), 2)

    def hear(self, event: Event) -> None:
        match event:
            case WorkStarted():
                self.works[event.work] = Work(event.what, event.at)
            case WorkProgressed() if work := self.works.get(event.work):
                self.works[event.work] = Work(event.what, work.began, event.done, event.total, event.unit)
            case WorkFinished():
                self.works.pop(event.work, None)
            case GenerationStarted():
                self.running[event.generation] = Generation(event.generation, event.model, event.via, event.where, event.why, event.at)
            case GenerationProgressed() if running := self.running.get(event.generation):
                self.tokens += max(event.tokens - running.tokens, 0)
                self.running[event.generation] = _further(running, event)
            case TokensPassed(phase="answer"):
                self._costs(event.model, event.figures)
            case RootAnswered():
                self._costs(event.model, event.answer)
            case GenerationWentOn() if running := self.running.get(event.generation):
                failover = LostOn(event.at, event.lost, event.cause, event.tokens, event.where)
                self.tokens += max(event.tokens - running.tokens, 0)
                self.running[event.generation] = dataclasses.replace(
                    running,
                    state="waiting",
                    where=event.where,
                    tokens=max(event.tokens, running.tokens),
                    tokens_per_second=None,
                    failovers=(*running.failovers, failover),
                )
            case GenerationFinished() if running := self.running.pop(event.generation, None):
                self.tokens += max(event.tokens - running.tokens, 0)
                self.recent.append(_ended(running, event))

    def _costs(self, model: str, figures: Figures) -> None:
        """A root writes one answer at a time: the first that is not over."""
        running = next((each for each in self.running.values() if each.model == model and each.via == BUILTIN), None)
        if running and figures.tokens:
            self.running[running.number] = dataclasses.replace(running, cost=_cost(figures))


def _cost(figures: Figures) -> Cost:
    waits = tuple((each.node, round(each.ms / figures.tokens, 2)) for each in figures.nodes if each.node != HERE and each.ms)
    return Cost(round(figures.computing_ms / figures.tokens, 2), round(figures.waiting_ms / figures.tokens, 2), waits)


def _further(running: Generation, event: GenerationProgressed) -> Generation:
    ttft = running.ttft_ms if running.ttft_ms is not None else round((event.at - running.began) * 1000, 1)
    return dataclasses.replace(running, state="writing", tokens=event.tokens, tokens_per_second=event.tokens_per_second, ttft_ms=ttft)


def _ended(running: Generation, event: GenerationFinished) -> Generation:
    rate = event.tokens_per_second or running.tokens_per_second
    return dataclasses.replace(
        running,
        state="done" if event.complete else "incomplete",
        tokens=event.tokens,
        tokens_per_second=rate,
        ttft_ms=event.ttft_ms if event.ttft_ms is not None else running.ttft_ms,
        ended=event.at,
        cause=event.cause,
    )
