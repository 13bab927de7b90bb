"""Passes of a built-in root, added up: for events now and then, and for the whole answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from synaptic.engines.root_events import Figures, NodeFigures, RootAnswered, Storage, TokensPassed
from synaptic.engines.running_root import HERE

if TYPE_CHECKING:
    from synaptic.dllama.running import Cached, Pass

PROMPT, ANSWER = "prompt", "answer"
SELDOM = 0.25  # seconds between two events


class PassFigures:
    """Of the answers of one model, one after another. Fed in the loop; costs microseconds."""

    def __init__(self, model: str, split: str, *, seldom: float = SELDOM) -> None:
        self._model, self._split, self._seldom = model, split, seldom
        self._counted: dict[str, tuple[int, int, float]] = {}  # of each session, so far
        self._told_at = float("-inf")
        self.begin()

    def begin(self) -> None:
        """A new answer."""
        self._whole = {PROMPT: Figures(), ANSWER: Figures()}
        self._untold = {PROMPT: Figures(), ANSWER: Figures()}
        self.storage: Storage | None = None

    def session_began(self) -> None:
        """The workers count from nothing again."""
        self._counted.clear()

    def add(self, passed: Pass, now: float) -> list[TokensPassed]:
        """What is to be said by now. A pass of several tokens reads a prompt; so does the last one of it, which nobody can tell apart."""
        phase = PROMPT if passed.tokens > 1 else ANSWER
        step = Figures(passed.tokens, passed.computing * 1000, passed.waiting * 1000, self._moved(passed))
        self._whole[phase] = plus(self._whole[phase], step)
        self._untold[phase] = plus(self._untold[phase], step)
        if now - self._told_at < self._seldom:
            return []
        self._told_at = now
        return self._tell()

    def read(self, cached: Cached) -> None:
        """Layers came from disk for a pass."""
        so_far = self.storage or Storage()
        self.storage = Storage(
            so_far.layers + cached.layers,
            so_far.hits + cached.hits,
            so_far.bytes + cached.read,
            so_far.ms + cached.reading * 1000,
            so_far.experts + cached.experts,
            so_far.expert_hits + cached.expert_hits,
        )

    def end(self) -> list[TokensPassed | RootAnswered]:
        """The rest, and all of it."""
        if not any(each.tokens for each in self._whole.values()):
            return []
        prompt, answer = self._whole[PROMPT], self._whole[ANSWER]
        return [*self._tell(), RootAnswered(model=self._model, split=self._split, prompt=prompt, answer=answer, storage=self.storage)]

    def _tell(self) -> list[TokensPassed]:
        told = [TokensPassed(model=self._model, phase=phase, figures=said) for phase, said in self._untold.items() if said.tokens]
        self._untold = {PROMPT: Figures(), ANSWER: Figures()}
        return told

    def _moved(self, passed: Pass) -> tuple[NodeFigures, ...]:
        """Since the pass before this one."""
        found = [NodeFigures(HERE, 0, 0, passed.computing * 1000)]
        for each in passed.traffic:
            weights = max(each.sent - each.received, 0)  # went before the first pass, and count for no token
            sent, received, waited = self._counted.get(each.worker, (weights, 0, 0.0))
            found.append(NodeFigures(each.worker, each.sent - sent, each.received - received, (each.waited - waited) * 1000))
            self._counted[each.worker] = each.sent, each.received, each.waited
        return tuple(found)


def plus(one: Figures, other: Figures) -> Figures:
    return Figures(
        one.tokens + other.tokens,
        one.computing_ms + other.computing_ms,
        one.waiting_ms + other.waiting_ms,
        tuple(_together((*one.nodes, *other.nodes))),
    )


def _together(nodes: Iterable[NodeFigures]) -> Iterable[NodeFigures]:
    found: dict[str, NodeFigures] = {}
    for each in nodes:
        before = found.get(each.node, NodeFigures(each.node, 0, 0, 0.0))
        up, down = before.bytes_up + each.bytes_up, before.bytes_down + each.bytes_down
        found[each.node] = NodeFigures(each.node, up, down, before.ms + each.ms)
    return found.values()
