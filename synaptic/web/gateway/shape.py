"""How an API writes an answer: piece by piece, or whole."""

from __future__ import annotations

import dataclasses
import json
from json.encoder import encode_basestring as _quote
from typing import Protocol

from synaptic.engines.engine import Chunk, Usage
from synaptic.results import Json
from synaptic.web.gateway.refusal import Refusal


@dataclasses.dataclass(frozen=True)
class End:
    """How an answer ended, and what it took, in seconds. None: not known."""

    reason: str  # stop, length, tool_calls, load, …
    usage: Usage | None = None
    total: float = 0.0
    load: float | None = None
    prompt: float | None = None  # from the loaded model to the first text
    writing: float | None = None


@dataclasses.dataclass(frozen=True)
class Whole:
    text: str
    reasoning: str
    tool_calls: list[Json]


class Shape(Protocol):
    """Made for one answer."""

    streams_as: str  # the content type

    def piece(self, chunk: Chunk) -> bytes:
        """Empty: nothing to say."""
        ...

    def end(self, end: End) -> bytes: ...

    def broken(self, refusal: Refusal) -> bytes:
        """What ends a stream that is not whole."""
        ...

    def whole(self, answer: Whole, end: End) -> Json:
        """The answer in one document."""
        ...


def dumped(document: Json) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def quoted(text: str) -> bytes:
    """As `dumped`, of a text."""
    return _quote(text).encode(errors="replace")
