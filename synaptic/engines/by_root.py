"""An answer of a built-in root."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from synaptic.engines.attempt import Overcome
from synaptic.engines.builtin import Roots, translated
from synaptic.engines.engine import Chunk, LostError, Request, Timings, Usage
from synaptic.engines.over_dllama import after
from synaptic.engines.root import Root
from synaptic.engines.running_root import Rooted
from synaptic.errors import EngineError

if TYPE_CHECKING:
    from synaptic.dllama.answer import Sampling


class ByRoot:
    """It goes on by itself as long as a worker is left; when none is, another attempt may."""

    def __init__(self, rooted: Rooted, roots: Roots) -> None:
        self.load_seconds: float | None = None
        self._rooted = rooted
        self._roots = roots
        self._root: Root | None = None
        self._overcame_before = 0

    @property
    def overcame(self) -> Sequence[Overcome]:
        return self._root.overcame[self._overcame_before :] if self._root else ()

    async def chunks(self, request: Request, written: Sequence[Chunk]) -> AsyncGenerator[Chunk, None]:
        """What follows `written` comes from a new answer, which begins with the same words: nothing in it is left to chance."""
        began = time.monotonic()
        root = self._root = await self._roots.ensure(self._rooted)
        self._overcame_before = len(root.overcame)
        self.load_seconds = time.monotonic() - began
        try:
            with translated(self._rooted.plan.model.name):
                async with contextlib.aclosing(after(self._answer(root, request), "".join(each.text for each in written))) as chunks:
                    async for chunk in chunks:
                        yield chunk
        except LostError:
            root.is_lost = True
            raise
        finally:
            self._roots.last = root.last or self._roots.last

    async def is_worth_another(self) -> bool:
        return False

    async def explained(self, error: EngineError, *, kept: bool) -> EngineError:
        stays = "; what was written so far stays" if kept else ""
        return type(error)(f"{error}{stays}", hint=error.hint) if type(error) is EngineError else error

    async def _answer(self, root: Root, request: Request) -> AsyncGenerator[Chunk, None]:
        from synaptic.dllama.chat import Message

        messages = [Message(each.role, each.content) for each in request.messages]
        clock = _Clock()
        with root.answering():
            async with contextlib.aclosing(root.generator.generate(messages, _sampling(request))) as pieces:
                async for piece in pieces:
                    if root.is_stopping:
                        raise EngineError(f"{self._rooted.plan.model.name} was stopped", hint="try: retry")
                    clock.count(len(piece.ids), piece.text)
                    if piece.text:
                        yield Chunk(text=piece.text, tokens=len(piece.ids))
                    if piece.finish:
                        usage = Usage(piece.prompt_tokens, clock.tokens, piece.cached)
                        yield Chunk(finish_reason=piece.finish, usage=usage, timings=clock.timings())


class _Clock:
    """What an answer took."""

    def __init__(self) -> None:
        self.tokens = 0
        self._began = time.monotonic()
        self._first: float | None = None
        self._last = self._began

    def count(self, tokens: int, text: str) -> None:
        self.tokens += tokens
        self._last = time.monotonic()
        if text and self._first is None:
            self._first = self._last

    def timings(self) -> Timings:
        first = self._first if self._first is not None else self._last
        decoding = self._last - first
        rate = round((self.tokens - 1) / decoding, 2) if decoding > 0 and self.tokens > 1 else None
        return Timings(round((first - self._began) * 1000, 1), rate, round((self._last - self._began) * 1000, 1))


def _sampling(request: Request) -> Sampling:
    from synaptic.dllama.answer import Sampling

    usual = Sampling()
    temperature = usual.temperature if request.temperature is None else request.temperature
    return Sampling(temperature, usual.top_p, usual.seed if request.seed is None else request.seed, request.max_tokens)
