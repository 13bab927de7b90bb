"""
The stream of /v1/chat/completions, read and measured. No I/O.

    data: {"choices": [{"delta": {"role": "assistant", "content": null}, "finish_reason": null}]}
    data: {"choices": [{"delta": {"content": "A"}, "finish_reason": null}]}
    data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}                      dllama-api writes "" for null
    data: {"choices": [], "usage": {"prompt_tokens": 15, …}, "timings": {"predicted_n": 42, …}}
    data: [DONE]

Usage and timings are optional; llama-server sends them with the finish when it is not asked for usage.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator

from synaptic.engines.dialect import ToolCalls
from synaptic.engines.engine import Chunk, Timings, Usage
from synaptic.engines.refusal import broken
from synaptic.engines.sse import Events
from synaptic.errors import EngineError
from synaptic.terminal import one_line

BAD_EVENTS = 3  # so many that are no JSON are passed over
Json = dict[str, object]


class Answer:
    """Made when the request is sent; `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens = 0  # pieces with text or reasoning: what a watchdog takes for progress
        self.finish_reason: str | None = None
        self.is_over = False
        self._clock = clock
        self._began = clock()
        self._first_text: float | None = None
        self._first_token: float | None = None
        self._last_token: float | None = None
        self._finished: float | None = None
        self._predicted = self._generated = 0  # tokens, as the server counts them: now, and at the last piece
        self._bad = 0
        self._calls = ToolCalls()
        self._usage: Json = {}
        self._speed: float | None = None
        self._events = Events()

    @property
    def seconds_per_token(self) -> float | None:
        """None: too few so far to tell."""
        if self.tokens < 8 or self._first_token is None or self._last_token is None:
            return None
        return (self._last_token - self._first_token) / (self.tokens - 1)

    def take(self, data: bytes) -> Iterator[Chunk]:
        """What `data` adds to the answer; no bytes mean the end. Raises EngineError where it is no answer any more."""
        for text in self._events.feed(data) if data else self._events.finish():
            if chunk := self._read(text):
                yield chunk
        self.is_over = self.is_over or not data

    def last(self) -> Chunk:
        """The end, with what is known about the whole. Raises EngineError if the server never said why it stopped."""
        if self.finish_reason is None:
            raise EngineError("the answer ended early: the server closed the stream", hint="try: retry")
        timings = Timings(since(self._began, self._first_text), self._rate(), since(self._began, self._finished))
        return Chunk(finish_reason=self.finish_reason, usage=self._counted(), timings=timings)

    def _read(self, text: str) -> Chunk | None:
        if text.strip() == "[DONE]":
            self.is_over = True
        if self.is_over:
            return None
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            self._pass_over()
            return None
        if event.get("error"):
            raise broken(event["error"])
        event = self._in_chat_form(event)
        self._note(event)
        return self._piece(_choice(event))

    def _in_chat_form(self, event: Json) -> Json:
        return event

    def _pass_over(self) -> None:
        self._bad += 1
        if self._bad > BAD_EVENTS:
            raise EngineError("the answer ended early: what the server sends is no JSON", hint="try: retry")

    def _note(self, event: Json) -> None:
        self._usage = object_of(event.get("usage")) or self._usage
        timings = object_of(event.get("timings"))
        if predicted := count_of(timings.get("predicted_n")):
            self._predicted = predicted
            if predicted >= 2:  # its clock starts after the first token
                self._speed = positive(timings.get("predicted_per_second"))

    def _piece(self, choice: Json) -> Chunk | None:
        delta = object_of(choice.get("delta"))
        text, reasoning = text_of(delta.get("content")), text_of(delta.get("reasoning_content") or delta.get("reasoning"))  # newer vLLM
        is_call = self._calls.take(delta.get("tool_calls"))
        if text or reasoning or is_call:
            self._moved(text)
        if reason := text_of(choice.get("finish_reason")):
            self.finish_reason, self._finished = one_line(reason, 40), self._clock()
        calls = self._calls.all() if self.finish_reason else None
        if not (text or reasoning or calls):
            return None
        return Chunk(text, reasoning, ids_of(choice), self._since_last(), calls)

    def _moved(self, text: str) -> None:
        now = self._clock()
        self.tokens += 1
        self._last_token = now
        if self._first_token is None:
            self._first_token = now
        if text and self._first_text is None:
            self._first_text = now

    def _since_last(self) -> int:
        """Tokens, as the server counts them, since the last piece."""
        before, self._generated = self._generated, self._predicted
        return self._predicted - before

    def _counted(self) -> Usage:
        """The server's count of tokens, else ours of the pieces."""
        completion = count_of(self._usage.get("completion_tokens"))
        cached = count_of(object_of(self._usage.get("prompt_tokens_details")).get("cached_tokens"))
        return Usage(count_of(self._usage.get("prompt_tokens")), self.tokens if completion is None else completion, cached)

    def _rate(self) -> float | None:
        """Tokens per second by the server's clock, else by ours."""
        if self._speed is not None:
            return self._speed
        if self._first_token is None or self._last_token is None or self._last_token <= self._first_token:
            return None
        return round((self.tokens - 1) / (self._last_token - self._first_token), 2)


class Completion(Answer):
    """The stream of /v1/completions, whose choices have a `text`."""

    def _in_chat_form(self, event: Json) -> Json:
        choice = _choice(event)
        return event | {"choices": [{"delta": {"content": choice.get("text")}, "finish_reason": choice.get("finish_reason")}]}


def since(began: float, moment: float | None) -> float | None:
    return None if moment is None else round((moment - began) * 1000, 1)


def _choice(event: Json) -> Json:
    choices = event.get("choices")
    return object_of(choices[0]) if isinstance(choices, list) and choices else {}


def ids_of(choice: Json) -> tuple[int, ...]:
    """llama-server names the token behind a piece; of a character that is made of several tokens only the last."""
    listed = object_of(choice.get("logprobs")).get("content")
    if not isinstance(listed, list):
        return ()
    return tuple([each for piece in listed if (each := count_of(object_of(piece).get("id"))) is not None])


def object_of(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def text_of(value: object) -> str:
    """A lone surrogate, which JSON can escape, becomes `?`: nothing could write it."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else value.encode(errors="replace").decode()


def count_of(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(float(value), 2) if 0 < value < math.inf else None
