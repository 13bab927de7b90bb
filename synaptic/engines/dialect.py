"""
A request in the words of the OpenAI chat API, and its tool calls in ours. No I/O.

    ours (and Ollama's)     {"function": {"name": "f", "arguments": {"a": 1}}}, images in base64, options of Ollama's names
    OpenAI's                {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}},
                            which a stream tears into pieces: {"index": 0, "function": {"arguments": "{\\"a"}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from synaptic.engines.engine import Message, Request
from synaptic.errors import EngineError
from synaptic.results import Json

MOST_CALLS = 128
LONGEST_CALL = 1024 * 1024  # characters
_OPTIONS = {  # Ollama's name → the field; what is not here has no word in this API
    **{name: name for name in ("temperature", "seed", "top_p", "top_k", "min_p", "stop", "presence_penalty", "frequency_penalty")},
    "num_predict": "max_tokens",
    "repeat_penalty": "repeat_penalty",  # llama-server's word
}
_IMAGES = {"/9j/": "jpeg", "R0lG": "gif", "UklG": "webp"}  # base64 of their first bytes


def payload(model: str, request: Request) -> dict[str, object]:
    """The JSON of /v1/chat/completions, streaming; of /v1/completions where the request has a prompt."""
    asked = {"temperature": request.temperature, "seed": request.seed, "max_tokens": request.max_tokens}
    given = {name: value for name, value in asked.items() if value is not None}
    named = {_OPTIONS[name]: value for name, value in request.options.items() if name in _OPTIONS}
    rest = {"tools": request.tools, "response_format": _format(request.format)} | _thinking(request)
    rest |= {"tool_choice": request.tool_choice} if request.tools else {}
    return {
        "model": model,
        **({"messages": _messages(request.messages)} if request.prompt is None else {"prompt": request.prompt}),
        "stream": True,
        "stream_options": {"include_usage": True},
        **given,
        **named,
        **{name: value for name, value in rest.items() if value},
    }


class ToolCalls:
    """Puts the pieces of a stream together."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._ids: dict[int, str] = {}
        self._arguments: dict[int, str] = {}
        self._size = 0

    def take(self, pieces: object) -> bool:
        """Whether there were any. Raises EngineError when they are too many."""
        if not isinstance(pieces, list):
            return False
        for place, piece in enumerate(pieces):
            if isinstance(piece, dict):
                self._take(piece, place)
        return bool(pieces)

    def all(self) -> list[Json] | None:
        """All calls in our form, once; None when there were none."""
        calls: list[Json] = [
            {"id": self._ids.get(place, ""), "function": {"name": name, "arguments": _parsed(self._arguments.get(place, ""))}}
            for place, name in sorted(self._names.items())
        ]
        self._names.clear()
        return calls or None

    def _take(self, piece: Mapping[str, object], place: int) -> None:
        index = piece.get("index", place)
        function = piece.get("function")
        if not isinstance(index, int) or not isinstance(function, dict):
            return
        name, arguments, identity = function.get("name"), function.get("arguments"), piece.get("id")
        if isinstance(name, str) and name:
            self._names[index] = name
        if isinstance(identity, str) and identity:
            self._ids[index] = identity
        if isinstance(arguments, str):
            self._size += len(arguments)
            self._arguments[index] = self._arguments.get(index, "") + arguments
        if len(self._names) > MOST_CALLS or self._size > LONGEST_CALL:
            raise EngineError("the server calls tools without end")


def _messages(messages: Sequence[Message]) -> list[dict[str, object]]:
    """A tool's answer names its call, which this API knows by id: the last call of that tool."""
    ids: dict[str, str] = {}
    written = []
    for message in messages:
        calls = _calls(message.tool_calls)
        ids |= {str(name): str(identity) for name, identity in ((_name(call), call["id"]) for call in calls)}
        said: dict[str, object] = {"role": message.role, "content": _content(message)}
        if calls:
            said["tool_calls"] = calls
        if message.role == "tool":
            said["tool_call_id"] = message.tool_call_id or ids.get(message.tool_name or "", next(reversed(ids.values()), ""))
        written.append(said)
    return written


def _content(message: Message) -> object:
    if not message.images:
        return message.content
    pictures = [f"data:image/{_IMAGES.get(image[:4], 'png')};base64,{image}" for image in message.images]
    text = [{"type": "text", "text": message.content}] if message.content else []
    return [*text, *({"type": "image_url", "image_url": {"url": picture}} for picture in pictures)]


def _calls(calls: Json) -> list[dict[str, object]]:
    written: list[dict[str, object]] = []
    for place, call in enumerate(calls if isinstance(calls, list) else []):
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(call, dict) and isinstance(function, dict):
            arguments = function.get("arguments")
            text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
            known = {"name": function.get("name"), "arguments": text}
            written.append({"id": call.get("id") or f"call_{place}", "type": "function", "function": known})
    return written


def _name(call: Mapping[str, object]) -> object:
    function = call["function"]
    return function["name"] if isinstance(function, dict) else None


def _thinking(request: Request) -> dict[str, Json]:
    """What the templates of thinking models ask for; llama-server and vLLM hand it on."""
    if isinstance(request.think, str):
        return {"reasoning_effort": request.think}
    return {} if request.think is None else {"chat_template_kwargs": {"enable_thinking": request.think}}


def _format(wanted: Json) -> Json:
    if isinstance(wanted, dict):
        return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": wanted}}
    return {"type": "json_object"} if wanted == "json" else None


def _parsed(arguments: str) -> Json:
    """What the model wrote; the text itself where that is no JSON object."""
    try:
        parsed: Json = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
    return parsed if isinstance(parsed, dict) else arguments
