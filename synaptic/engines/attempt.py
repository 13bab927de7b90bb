"""One try at an answer: who is asked, and what its failure means."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from synaptic.engines.engine import Chunk, Request
from synaptic.errors import EngineError


class Attempt(Protocol):
    """`load_seconds`: how long it took until the model was there; None while it is not."""

    load_seconds: float | None

    def chunks(self, request: Request, written: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
        """As `Engine.generate`, after whatever must be made ready first; what follows `written`, if another began."""
        ...

    async def is_worth_another(self) -> bool:
        """Whether the failure may be gone when the same is tried again on the same route."""
        ...

    async def explained(self, error: EngineError, *, kept: bool) -> EngineError:
        """What really happened. `kept`: a part of the answer was shown, and stays. A LostError: another may go on."""
        ...
