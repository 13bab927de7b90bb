"""One agent's part in a collaboration: spoken within its time, and what is to be said of it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator

from synaptic.agents.place import Place, Speaks, Speech
from synaptic.engines.engine import Message
from synaptic.errors import EngineError, SynapticError
from synaptic.results import Json, to_json


@dataclasses.dataclass(frozen=True)
class Phase:
    """What a part came to. `round` is 0 for the first words, else the number of the refinement; no `served_by`: nobody was reached."""

    role: str
    round: int
    model: str
    served_by: str | None
    seconds: float
    tokens: int
    complete: bool
    error: str | None
    text: str
    failovers: Json  # where it went on when a worker was lost, as in the document of an answer


class Part:
    def __init__(self, role: str, place: Place, messages: tuple[Message, ...], *, refinement: int = 0) -> None:
        self.role = role
        self.text = ""
        self.error: SynapticError | None = None
        self._refinement = refinement
        self._place = place
        self._messages = messages
        self._speech: Speech | None = None
        self._seconds = 0.0

    async def pieces(self, speaks: Speaks, within: float) -> AsyncGenerator[str, None]:
        """
        Its text as it comes. Never fails: `error` tells. `within` is in seconds, from when the model is loaded; time in
        which the listener does something else does not count.
        """
        try:
            self._speech = await speaks.speak(self._place, self._messages)
            async with contextlib.aclosing(self._speech.pieces()) as pieces:
                while (piece := await self._next(pieces, within)) is not None:
                    self.text += piece
                    yield piece
            self.error = self._speech.outcome().error
        except SynapticError as error:
            self.error = error
        except TimeoutError:
            self.error = EngineError(f"it was not done after {within:g} s", hint=f"try: timeout {2 * within:g}")

    async def speak(self, speaks: Speaks, within: float) -> None:
        """To the end, with nobody listening."""
        async with contextlib.aclosing(self.pieces(speaks, within)) as pieces:
            async for _ in pieces:
                pass

    @property
    def served_by(self) -> str | None:
        return self._speech.served_by if self._speech else None

    @property
    def is_complete(self) -> bool:
        return self.error is None and self.document.get("complete") is True

    @property
    def document(self) -> dict[str, Json]:
        """As `ask --json` has it; empty where it did not come to an answer."""
        data = self._speech.outcome().data if self._speech else None
        return data if isinstance(data, dict) else {}

    @property
    def tail(self) -> str:
        return self._speech.outcome().tail if self._speech else ""

    async def _next(self, pieces: AsyncGenerator[str, None], within: float) -> str | None:
        """A timeout around each step, not around the loop: it would cancel the listener too."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(within - self._seconds):
                return await anext(pieces, None)
        finally:
            self._seconds += clock() - began

    def as_json(self) -> Json:
        usage = self.document.get("usage")
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else 0
        return to_json(
            Phase(
                self.role,
                self._refinement,
                str(self.document.get("model", self._place.model)),
                self.served_by,
                round(self._seconds, 3),
                tokens if isinstance(tokens, int) else 0,
                self.is_complete,
                str(self.error) if self.error else None,
                self.text,
                self.document.get("failovers", []),
            )
        )

    def __str__(self) -> str:
        """`critic 2.1 s`, `critic broke off`."""
        took = f"{self._seconds:.1f} s" if self._seconds >= 0.1 else f"{self._seconds * 1000:.0f} ms"
        return f"{self.role} {took if self.is_complete else 'broke off' if self.text else 'failed'}"
