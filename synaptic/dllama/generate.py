"""
The engine's face: a conversation in, pieces of the answer out, over whatever way the model is run.

    Generator(model, tokenizer, Spreading(workers=…, split=Split.LAYERS))

What the model has seen is kept: of the next conversation only what is new is computed. A worker that is lost is left
out, the model is spread over the others, they are fed what was said so far, and the answer goes on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from synaptic.dllama.answer import Answer, Piece, Sampling
from synaptic.dllama.chat import Message, Style, prompt
from synaptic.dllama.feeder import Feeder
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.running import Tell, nobody
from synaptic.dllama.spreading import Spreading
from synaptic.dllama.to_worker import CalledOffError
from synaptic.dllama.tokenizer import Tokenizer
from synaptic.dllama.tokenizer_file import read_vocabulary

T = TypeVar("T")
Conversation = Sequence[Message] | Sequence[int] | str
_GRACE = 5.0  # seconds for the step that is under way when nobody wants it any more


class TooLongError(ValueError):
    """The prompt does not fit the context, or there is none. Says so in words that follow the model's name."""


@dataclasses.dataclass(frozen=True)
class _Prompt:
    """`fed`: the tokens, but for the original's mistake with the last one. `shown`: where the answer begins."""

    fed: list[int]
    shown: bytes = b""


class Generator:
    """
    One answer at a time; others wait. To be closed. Nothing is opened before the first answer is asked for.

    `tell` is called in another thread.
    """

    def __init__(
        self, model: Path, tokenizer: Path, spreading: Spreading | None = None, *, style: Style = Style.CORRECT, tell: Tell = nobody
    ) -> None:
        """Blocks on the disk. OSError, NotAModelError, NotATokenizerError. `style`: with the original's errors, or without."""
        self.file, self._vocabulary = ModelFile(model), read_vocabulary(tokenizer)
        self._tokenizer, self._style = Tokenizer(self._vocabulary), style
        self._feeder = Feeder(self.file, spreading or Spreading(), tell)
        self._lock, self._is_closed = asyncio.Lock(), False
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "dllama")

    async def ensure_ready(self) -> None:
        """Have the weights where they belong. GraphError, LostWorkerError, OSError."""
        async with self._lock:
            await self._in_thread(self._feeder.open)

    async def generate(self, conversation: Conversation, sampling: Sampling | None = None) -> AsyncGenerator[Piece, None]:
        """
        Messages, a plain text, or tokens. Closing it, or cancelling, ends the work within a token or a batch.

        GraphError, LostWorkerError, OSError, TooLongError, UnknownTemplateError, EncodingError.
        """
        start = self._prompt(conversation)
        answer = Answer(self._vocabulary, sampling or Sampling(), self._feeder.context - len(start.fed))
        text, cached = list(start.fed), 0

        def step() -> Piece:
            return answer.take(self._feeder.feed(text))

        async with self._lock:
            if start.shown:
                yield Piece(start.shown.decode("utf-8", "replace"))
            while not answer.is_over:
                piece = await self._in_thread(step)
                text += piece.ids
                if len(answer.tokens) == 1:
                    cached = self._feeder.cached
                yield dataclasses.replace(piece, prompt_tokens=len(start.fed), cached=cached)

    async def aclose(self) -> None:
        """Ends all sessions politely. As often as you like."""
        async with self._lock:
            if not self._is_closed:
                await self._in_thread(self._feeder.close)
                self._thread.shutdown(wait=False)
                self.file.close()
                self._is_closed = True

    def _prompt(self, conversation: Conversation) -> _Prompt:
        found = self._encoded(conversation)
        if not found.fed:
            raise TooLongError("cannot go on from nothing: the prompt is empty")
        if len(found.fed) > self._feeder.context:
            raise TooLongError(f"has a context of {self._feeder.context} tokens, and the prompt takes {len(found.fed)}")
        return found

    def _encoded(self, conversation: Conversation) -> _Prompt:
        text, shown = conversation, b""
        if not isinstance(text, str):
            messages = [each for each in text if isinstance(each, Message)]
            if not messages:
                return _Prompt([each for each in text if isinstance(each, int)])
            written = prompt(self._vocabulary, messages, style=self._style)
            encoding, shown = self._tokenizer.encode(written.text), written.shown
        else:
            encoding = self._tokenizer.encode(text.encode())
        tokens = list(encoding.tokens)
        if self._style is Style.COMPATIBLE and len(tokens) > 1:
            tokens[-1] = encoding.stale or 0
        return _Prompt(tokens, shown)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Survives a cancellation: what is under way ends, soon, before it does."""
        is_wanted = True

        def wanted_work() -> T:
            self._feeder.call_off.clear()
            if not is_wanted:
                raise CalledOffError
            return work()

        doing = asyncio.get_running_loop().run_in_executor(self._thread, wanted_work)
        doing.add_done_callback(lambda done: done.cancelled() or done.exception())  # asked for, though nobody waits
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            is_wanted = False
            self._feeder.call_off.set()
            if not (await asyncio.wait([doing], timeout=_GRACE))[0]:
                self._feeder.cut()
                await asyncio.wait([doing])
            raise
