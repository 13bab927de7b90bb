"""What every engine promises, and the values that pass through it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator
from typing import Protocol

from synaptic.errors import EngineError


class StalledError(EngineError):
    """The engine is there but says nothing any more; llama-server's own health stays green through it."""


@dataclasses.dataclass(frozen=True)
class Message:
    """`role` is system, user or assistant."""

    role: str
    content: str


@dataclasses.dataclass(frozen=True)
class Request:
    """What is None is left to the engine."""

    messages: tuple[Message, ...]
    model: str
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None


@dataclasses.dataclass(frozen=True)
class Usage:
    """Tokens. None: the engine did not say."""

    prompt_tokens: int | None
    completion_tokens: int
    cached_tokens: int | None = None


@dataclasses.dataclass(frozen=True)
class Timings:
    """`ttft_ms` runs from the request to the first visible text, on our clock. None: unknown."""

    ttft_ms: float | None
    tokens_per_second: float | None
    total_ms: float | None


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A piece of an answer. Only the last one has a `finish_reason`; `reasoning` is no part of the answer."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    timings: Timings | None = None


class Engine(Protocol):
    def generate(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """
        The answer, piece by piece. It is complete only with a last chunk that says why it finished; an end without
        one is raised as EngineError. Closing the generator stops the engine's work at once.
        """
        ...
