"""
A model that is fed with whole texts and computes what it has not seen, over workers that may be lost meanwhile.

Blocks; for one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

from synaptic.dllama.model_file import Floats, ModelFile
from synaptic.dllama.running import Lost, Running, Tell, context_of
from synaptic.dllama.spreading import Spreading
from synaptic.dllama.to_worker import CalledOffError, CallOff, LostWorkerError, address


class Feeder:
    """`cached`: tokens that the last text began with and that were not computed again."""

    def __init__(self, file: ModelFile, spreading: Spreading, tell: Tell) -> None:
        self.call_off = CallOff()
        self.context = context_of(file.header, spreading.context)
        self.cached = 0
        self._file, self._spreading, self._tell = file, spreading, tell
        self._running: Running | None = None
        self._seen: list[int] = []

    def open(self) -> Running:
        """Unless it is open. GraphError, LostWorkerError, OSError, CalledOffError."""
        if self._running is None:
            running = self._spreading.running(self._file)
            try:
                running.open(self.call_off, self._tell)
            except BaseException:
                running.close()
                raise
            self._running, self._seen = running, []
        return self._running

    def feed(self, text: Sequence[int]) -> Floats:
        """Logits after the last token of the text, valid until the next call; CalledOffError leaves it usable."""
        running = self.open()
        while True:
            try:
                return self._feed(running, list(text))
            except LostWorkerError as lost:
                self.call_off.check()  # it was cut
                running = self._elsewhere(lost)

    def cut(self) -> None:
        """From any thread: end the waits of a `feed`. It opens anew with the next one."""
        if running := self._running:
            running.cut()

    def close(self) -> None:
        if self._running:
            self._running.close()
            self._running = None

    def _feed(self, running: Running, text: list[int]) -> Floats:
        """All but the last in batches, as the original does it: batches are added up in another order."""
        seen = self._common(text[:-1])
        del self._seen[seen:]
        self.cached = seen
        try:
            if seen < len(text) - 1:
                running.feed(text[seen:-1], seen, wants_logits=False)
            logits = running.feed(text[-1:], len(text) - 1)
        except CalledOffError:
            raise
        except BaseException:
            self.close()
            raise
        self._seen = text
        return logits

    def _common(self, text: list[int]) -> int:
        if text[: len(self._seen)] == self._seen:
            return len(self._seen)
        return next(
            (i for i, (one, other) in enumerate(zip(text, self._seen, strict=False)) if one != other), min(len(text), len(self._seen))
        )

    def _elsewhere(self, lost: LostWorkerError) -> Running:
        """Spread over those that are left, and over fewer yet when another is lost meanwhile."""
        first = lost
        while (spreading := self._spreading.without(lost.worker, self._file.header)) is not None:
            self._spreading = spreading
            self._tell(Lost(address(lost.worker), lost.why, tuple(map(address, spreading.workers))))
            try:
                return self.open()
            except LostWorkerError as another:
                lost = another
        raise lost if lost is first else LostWorkerError(lost.worker, f"{lost.why}; before that, {first}")
