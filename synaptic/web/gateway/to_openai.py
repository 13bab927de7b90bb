"""
Answers as OpenAI's API writes them; a stream is server-sent events.

    data: {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, …}]}
    data: {…, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    data: {…, "choices": [], "usage": {"prompt_tokens", "completion_tokens", "total_tokens"}}       if asked for
    data: [DONE]
    data: {"error": {"message", "type", "param", "code"}}                   an answer that is not whole ends so
"""

from __future__ import annotations

import base64
import json
import secrets
import struct
import time

from synaptic.engines.engine import Chunk, Usage
from synaptic.results import Json
from synaptic.web.gateway.refusal import Refusal
from synaptic.web.gateway.shape import End, Whole, dumped, quoted

Object = dict[str, Json]
DONE = b"data: [DONE]\n\n"
_MARK = "\0"  # in no name of a model: what stands for a text
_REASONS = ("stop", "length", "tool_calls", "content_filter")


class ToChat:
    streams_as = "text/event-stream"
    _prefix, _object = "chatcmpl-", "chat.completion"

    def __init__(self, model: str, *, has_usage: bool) -> None:
        self._head: Object = {"id": self._prefix + secrets.token_hex(12), "created": int(time.time()), "model": model}
        self._has_usage = has_usage
        self._has_begun = False
        self._calls = 0
        self._around: tuple[bytes, bytes] | None = None  # of a text in its event

    def piece(self, chunk: Chunk) -> bytes:
        if chunk.text and self._has_begun and not (chunk.reasoning or chunk.tool_calls):
            return self._only_text(chunk.text)
        delta = self._delta(chunk)
        if not delta:
            return b""
        return self._first() + self._event([self._choice(delta, None)])

    def end(self, end: End) -> bytes:
        last = self._event([self._choice({}, self._reason(end.reason))])
        told = self._event([], usage=_usage(end.usage)) if self._has_usage else b""
        return self._first() + last + told + DONE

    def broken(self, refusal: Refusal) -> bytes:
        return b"data: " + dumped(refusal.as_openai()) + b"\n\n" + DONE

    def whole(self, answer: Whole, end: End) -> Json:
        message: Object = {"role": "assistant", "content": answer.text or (None if answer.tool_calls else "")}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = [*self._named(answer.tool_calls)]
        return self._document({"message": message}, end)

    def _only_text(self, text: str) -> bytes:
        """As below, for nearly every token: what is around the text is written once."""
        if self._around is None:
            event = self._event([self._choice(self._delta(Chunk(_MARK)), None)])
            before, _, after = event.partition(quoted(_MARK))
            self._around = before, after
        return self._around[0] + quoted(text) + self._around[1]

    def _document(self, said: Object, end: End) -> Json:
        choice: Object = {"index": 0, **said, "logprobs": None, "finish_reason": self._reason(end.reason)}
        return {"object": self._object, **self._head, "choices": [choice], "usage": _usage(end.usage)}

    def _first(self) -> bytes:
        if self._has_begun:
            return b""
        self._has_begun = True
        return self._event([self._choice({"role": "assistant", "content": ""}, None)])

    def _delta(self, chunk: Chunk) -> Object:
        delta: Object = {}
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.reasoning:
            delta["reasoning_content"] = chunk.reasoning
        if isinstance(chunk.tool_calls, list) and chunk.tool_calls:
            before = self._calls
            delta["tool_calls"] = [{"index": before + place, **call} for place, call in enumerate(self._named(chunk.tool_calls))]
        return delta

    def _choice(self, delta: Object, reason: str | None) -> Object:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}

    def _event(self, choices: list[Json], **more: Json) -> bytes:
        return b"data: " + dumped({"object": f"{self._object}.chunk", **self._head, "choices": choices, **more}) + b"\n\n"

    def _reason(self, reason: str) -> str:
        """Ollama and old servers say stop where they call tools."""
        return "tool_calls" if self._calls else reason if reason in _REASONS else "stop"

    def _named(self, calls: list[Json]) -> list[Object]:
        named = [_call(call) for call in calls if isinstance(call, dict)]
        self._calls += len(named)
        return named


class ToCompletion(ToChat):
    _prefix, _object = "cmpl-", "text_completion"

    def whole(self, answer: Whole, end: End) -> Json:
        return self._document({"text": answer.text}, end)

    def _first(self) -> bytes:
        return b""

    def _delta(self, chunk: Chunk) -> Object:
        return {"text": chunk.text} if chunk.text else {}

    def _choice(self, delta: Object, reason: str | None) -> Object:
        return {"index": 0, "text": delta.get("text", ""), "logprobs": None, "finish_reason": reason}

    def _event(self, choices: list[Json], **more: Json) -> bytes:
        return b"data: " + dumped({"object": self._object, **self._head, "choices": choices, **more}) + b"\n\n"


def _usage(usage: Usage | None) -> Json:
    if usage is None:
        return None
    prompt = usage.prompt_tokens or 0
    counted: Object = {
        "prompt_tokens": prompt,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": prompt + usage.completion_tokens,
    }
    return counted if usage.cached_tokens is None else counted | {"prompt_tokens_details": {"cached_tokens": usage.cached_tokens}}


def _call(call: Object) -> Object:
    """Arguments are text there, and every call has an id."""
    function = call.get("function")
    known = function if isinstance(function, dict) else {}
    arguments = known.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    written: Object = {"name": known.get("name"), "arguments": text}
    return {"id": call.get("id") or f"call_{secrets.token_hex(8)}", "type": "function", "function": written}


def packed(vector: list[Json]) -> str:
    """A vector of numbers as base64 of little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
