"""What every engine promises, and the values that pass through it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, Protocol

from synaptic.errors import EngineError
from synaptic.results import Json


class StalledError(EngineError):
    """The engine is there but says nothing any more; llama-server's own health stays green through it."""


class LostError(EngineError):
    """Whoever wrote the answer is gone, and another may go on with it. `lost`: the workers that are to blame."""

    def __init__(self, message: str, *, lost: tuple[str, ...], hint: str | None = None, details: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint, details=details)
        self.lost = lost


@dataclasses.dataclass(frozen=True)
class Message:
    """
    `role` is system, user, assistant, or tool (what a tool gave back; `tool_name` says which).

    `images` are base64. `tool_calls`: `[{"function": {"name", "arguments": {…}}}]`, as Ollama writes them; an "id" may be there.
    """

    role: str
    content: str
    images: tuple[str, ...] = ()
    tool_calls: Json = None
    tool_name: str | None = None
    tool_call_id: str | None = None  # of a tool's answer, where its call had one


@dataclasses.dataclass(frozen=True)
class Request:
    """
    What is None is left to the engine.

    `format` is "json" or a JSON schema, `tools` a list as both APIs take it; `options` have Ollama's names, and count
    over the fields above them. An engine passes on what it has a word for. With a `prompt` there are no messages: it is
    text that the model goes on with, in no chat's form.
    """

    messages: tuple[Message, ...]
    model: str
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    context: int | None = None  # tokens
    format: Json = None
    tools: Json = None
    options: Mapping[str, Json] = dataclasses.field(default_factory=dict)
    keep_alive: str | None = None  # how long the model stays loaded afterwards: "5m", "0s", "-1s"
    prompt: str | None = None
    tool_choice: Json = None  # as OpenAI writes it: "auto", "required", or the one function; None: the model chooses
    think: bool | str | None = None  # whether, or how hard, it reasons before it answers

    @property
    def is_plain(self) -> bool:
        """Whether the words alone decide what comes next: no tools, no images, no form, no template that was told more."""
        return not (self.format or self.tools or self.think is not None or any(message.images for message in self.messages))


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


class Chunk(NamedTuple):
    """
    A piece of an answer. Only the last one has a `finish_reason`; `reasoning` is no part of the answer.

    `ids` are the tokens behind it where the engine tells them, the last ones if `tokens` counts more. A tuple, because
    one is made for every token, and a frozen dataclass takes five times as long.
    """

    text: str = ""
    reasoning: str = ""
    ids: tuple[int, ...] = ()
    tokens: int = 0
    tool_calls: Json = None  # as in a message
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
