"""
Answers as Ollama writes them: a JSON object per line, durations in nanoseconds.

    {"model", "created_at", "message": {"role": "assistant", "content": "A"}, "done": false}         chat
    {"model", "created_at", "response": "A", "done": false}                                          generate
    {…, "done": true, "done_reason": "stop", "total_duration", "load_duration", "prompt_eval_count", "eval_count", …}
    {"error": "…"}          also after a 200
"""

from __future__ import annotations

import datetime

from synaptic.engines.engine import Chunk
from synaptic.results import Json
from synaptic.web.gateway.refusal import Refusal
from synaptic.web.gateway.shape import End, Whole, dumped, quoted

Object = dict[str, Json]
_REASONS = {"tool_calls": "stop", "function_call": "stop"}  # Ollama stops to call tools


class ToChat:
    streams_as = "application/x-ndjson"

    def __init__(self, model: str) -> None:
        self._model = model
        line = dumped(self._said("", "", []) | {"done": False}) + b"\n"
        self._before = dumped({"model": model})[:-1] + b',"created_at":"'  # nearly every token is only text: the rest is written once
        _, _, rest = line.removeprefix(self._before).partition(b'"')
        between, _, self._after = rest.rpartition(b'""')
        self._between = b'"' + between

    def piece(self, chunk: Chunk) -> bytes:
        if chunk.text and not (chunk.reasoning or chunk.tool_calls):
            return self._before + now().encode() + self._between + quoted(chunk.text) + self._after
        calls = chunk.tool_calls if isinstance(chunk.tool_calls, list) else []
        if not (chunk.text or chunk.reasoning or calls):
            return b""
        return dumped(self._said(chunk.text, chunk.reasoning, calls) | {"done": False}) + b"\n"

    def end(self, end: End) -> bytes:
        return dumped(self._said("", "", []) | _ended(end)) + b"\n"

    def broken(self, refusal: Refusal) -> bytes:
        return dumped({"error": refusal.message}) + b"\n"

    def whole(self, answer: Whole, end: End) -> Json:
        return self._said(answer.text, answer.reasoning, answer.tool_calls) | _ended(end)

    def _said(self, text: str, reasoning: str, calls: list[Json]) -> Object:
        message: Object = {"role": "assistant", "content": text}
        if reasoning:
            message["thinking"] = reasoning
        if calls:
            message["tool_calls"] = [_call(call) for call in calls]
        return _head(self._model) | {"message": message}


class ToGenerate(ToChat):
    def _said(self, text: str, reasoning: str, calls: list[Json]) -> Object:
        said = _head(self._model) | {"response": text}
        return said | {"thinking": reasoning} if reasoning else said


def now() -> str:
    """As Go writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


def nanoseconds(seconds: float | None) -> int:
    return round((seconds or 0.0) * 1e9)


def _head(model: str) -> Object:
    return {"model": model, "created_at": now()}


def _ended(end: End) -> Object:
    """Ollama leaves out what it did not measure."""
    known: Object = {"done": True, "done_reason": _REASONS.get(end.reason, end.reason)}
    if end.usage is None:
        return known
    known |= {"total_duration": nanoseconds(end.total), "load_duration": nanoseconds(end.load)}
    if end.usage.prompt_tokens is not None:
        known |= {"prompt_eval_count": end.usage.prompt_tokens, "prompt_eval_duration": nanoseconds(end.prompt)}
    return known | {"eval_count": end.usage.completion_tokens, "eval_duration": nanoseconds(end.writing)}


def _call(call: Json) -> Json:
    """Arguments are an object there; a model that wrote none has written text."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(function, dict):
        return call
    arguments = function.get("arguments")
    return call | {"function": function | {"arguments": arguments if isinstance(arguments, dict) else {"text": arguments}}}
