"""One try at an answer: who is asked, and what its failure means."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from synaptic.engines.engine import Chunk, Request
from synaptic.errors import EngineError
from synaptic.planning.plan import Plan
from synaptic.results import Json


@dataclasses.dataclass(frozen=True)
class Failover:
    """
    `after_tokens` had been shown; `seconds` until there was another way: before the model was loaded again, but for one
    that an attempt overcame by itself.
    """

    lost: tuple[str, ...]
    cause: str
    after_tokens: int
    seconds: float
    at: float = 0.0  # when it was named, by a steady clock

    def as_json(self) -> Json:
        return {"lost": list(self.lost), "cause": self.cause, "after_tokens": self.after_tokens, "seconds": self.seconds}

    @property
    def who(self) -> str:
        kind = "server" if any("://" in each for each in self.lost) else "worker"
        return f"{kind} {', '.join(self.lost)}" if self.lost else "its coordinator"


@dataclasses.dataclass(frozen=True)
class Overcome:
    """A loss after which an attempt went on by itself, on `plan`."""

    lost: tuple[str, ...]
    cause: str
    seconds: float
    at: float
    plan: Plan


class Attempt(Protocol):
    """
    `load_seconds`: how long it took until the model was there; None while it is not. `overcame`: all so far, of those
    that are told before the piece of the answer that follows them.
    """

    load_seconds: float | None

    @property
    def overcame(self) -> Sequence[Overcome]: ...

    def chunks(self, request: Request, written: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
        """As `Engine.generate`, after whatever must be made ready first; what follows `written`, if another began."""
        ...

    async def is_worth_another(self) -> bool:
        """Whether the failure may be gone when the same is tried again on the same route."""
        ...

    async def explained(self, error: EngineError, *, kept: bool) -> EngineError:
        """What really happened. `kept`: a part of the answer was shown, and stays. A LostError: another may go on."""
        ...
