"""
One request, measured on our clock. The definitions are fixed, and printed in every report.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import AsyncGenerator, Callable

from synaptic.engines.engine import Chunk, Usage
from synaptic.errors import SynapticError

DEFINITIONS = {
    "ttft": "ms from sending the request to the first text or reasoning that is not empty (headers and role-only events do not count)",
    "tpot": "ms: (e2e - ttft) / (tokens - 1), of tokens as the server counts them",
    "itl": "ms between two pieces of text, of all requests together; a piece may hold several tokens",
    "e2e": "ms from sending the request to its last piece of text",
    "throughput": "tokens/s: the tokens of complete answers over the time of the whole repeat",
    "goodput": "requests/s that are complete and within all limits",
    "errors": "requests that failed before a first token; `truncated` are those that broke off after it; both count against goodput",
    "cache": "prompt tokens that the server says it had already; beyond the template's (but for chat), what was measured is not its speed",
    "ci95": "Student's 95 % interval of the mean over the repeats; percentiles by nearest rank, from 20, 100, 200, 1000 values on",
}


@dataclasses.dataclass(frozen=True)
class Sample:
    """Times in ms; `at` from the start of its repeat. `error` empty: the answer is whole. None: not known."""

    at: float
    ttft: float | None
    e2e: float | None
    itl: tuple[float, ...]
    prompt_tokens: int | None
    tokens: int
    cached_tokens: int | None
    error: str = ""
    truncated: bool = False

    @property
    def is_whole(self) -> bool:
        return not self.error

    @property
    def tpot(self) -> float | None:
        if self.ttft is None or self.e2e is None or self.tokens < 2:
            return None
        return (self.e2e - self.ttft) / (self.tokens - 1)

    def meets(self, ttft: float | None, tpot: float | None) -> bool:
        """Whether it counts for goodput under these limits, in ms."""
        is_soon = ttft is None or (self.ttft is not None and self.ttft <= ttft)
        return self.is_whole and is_soon and (tpot is None or self.tpot is None or self.tpot <= tpot)


async def measured(answer: AsyncGenerator[Chunk, None], origin: float, clock: Callable[[], float] = time.monotonic) -> Sample:
    """`answer` is not started yet: its first step sends the request. `origin`: when the repeat began, by `clock`, in seconds."""
    began, moments, last, error = clock(), [], Chunk(), ""
    try:
        async with contextlib.aclosing(answer) as chunks:
            async for chunk in chunks:
                if chunk.text or chunk.reasoning:
                    moments.append(clock())
                last = chunk
    except SynapticError as failure:
        error = str(failure)
    usage = last.usage or Usage(None, len(moments))
    return Sample(
        at=_ms(began - origin),
        ttft=_ms(moments[0] - began) if moments else None,
        e2e=_ms(moments[-1] - began) if moments else None,
        itl=tuple(_ms(after - before) for before, after in itertools.pairwise(moments)),
        prompt_tokens=usage.prompt_tokens,
        tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        error=error,
        truncated=bool(error and moments),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
