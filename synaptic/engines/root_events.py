"""What the tokens of a built-in root cost, as events: computing here, waiting for others, bytes to and from each node."""

from __future__ import annotations

import dataclasses

from synaptic.events import Chatter, Event
from synaptic.results import gib


@dataclasses.dataclass(frozen=True)
class NodeFigures:
    """`ms`: that the root waited for it; with shares of every layer all are waited for together."""

    node: str
    bytes_up: int
    bytes_down: int
    ms: float = 0.0


@dataclasses.dataclass(frozen=True)
class Figures:
    """Sums over so many tokens. `waiting_ms`: for other nodes, or for the disk."""

    tokens: int = 0
    computing_ms: float = 0.0
    waiting_ms: float = 0.0
    nodes: tuple[NodeFigures, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokensPassed(Chatter):
    """Since it was said last, at most a few times a second. `phase`: prompt or answer."""

    model: str
    phase: str
    figures: Figures


@dataclasses.dataclass(frozen=True)
class Storage:
    """
    Of a model that is bigger than its memory: layers that were needed, of which `hits` were there, and experts, where it
    is a mixture of some; bytes read, and in which time.
    """

    layers: int = 0
    hits: int = 0
    bytes: int = 0
    ms: float = 0.0
    experts: int = 0
    expert_hits: int = 0

    @property
    def said(self) -> str:
        """`75% of the layers and 40% of the experts were in memory, 1.2 GiB/s from disk`, in short."""
        shares = [f"{self.hits / self.layers:.0%} of the layers"] if self.layers else []
        shares += [f"{self.expert_hits / self.experts:.0%} of the experts"] if self.experts else []
        rate = f", {gib(int(self.bytes / self.ms * 1000))}/s from disk" if self.ms and self.bytes else ""
        return f"{' and '.join(shares)} were in memory{rate}" if shares else ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RootAnswered(Event):
    """A whole answer, or what there is of one that broke off. `storage` None: nothing was read from disk for it."""

    model: str
    split: str
    prompt: Figures
    answer: Figures
    storage: Storage | None = None
