"""Where an agent can speak, and what a collaboration needs of the engines."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Protocol

from synaptic.engines.engine import Message
from synaptic.planning.plan import LONGEST_DEFAULT_CONTEXT
from synaptic.results import Outcome


@dataclasses.dataclass(frozen=True)
class Place:
    """A model at a node; `node` is the node's URL, "" the engine of this machine and its workers."""

    model: str
    node: str = ""
    context: int = LONGEST_DEFAULT_CONTEXT  # tokens
    has_gpu: bool = False  # it said so


class Speech(Protocol):
    """An answer on its way. `outcome().data` is the document of an answer as `ask --json` gives it."""

    @property
    def served_by(self) -> str:
        """Who writes it, for the user."""
        ...

    def pieces(self) -> AsyncGenerator[str, None]:
        """Raises SynapticError if nothing came at all; later failures are in the outcome."""
        ...

    def outcome(self) -> Outcome: ...


class Speaks(Protocol):
    async def places(self, model: str | None) -> Sequence[Place]:
        """All that can answer with `model` now, the best first, never none. Raises SynapticError."""
        ...

    def others(self, used: Collection[str]) -> Sequence[Place]:
        """Places at nodes that are not `used`, with whatever model each has."""
        ...

    async def speak(self, place: Place, messages: tuple[Message, ...]) -> Speech:
        """An answer from this place, its model loaded. Raises SynapticError."""
        ...
