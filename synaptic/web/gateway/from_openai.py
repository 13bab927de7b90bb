"""
Requests of OpenAI's API.

    POST /v1/chat/completions  {"model", "messages": [{"role", "content": text or parts, "tool_calls", "tool_call_id"}], "tools", …}
    POST /v1/completions       {"model", "prompt", …}
    both                       "stream" (false unless said), "stream_options", "max_tokens", "temperature", "stop", …

What would change the answer and has no word here is refused; what would not (user, metadata, …) is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from synaptic.engines.engine import Message, Request
from synaptic.errors import UsageError
from synaptic.results import Json
from synaptic.web.gateway.asked import Asked, image, tools
from synaptic.web.gateway.body import Body

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_NUMBERS = {"top_p": (0, 1), "min_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2), "repeat_penalty": (0, 100)}
_REFUSED = ("logit_bias", "logprobs", "top_logprobs", "functions", "function_call", "audio", "prediction", "web_search_options", "suffix")
_DATA = re.compile(r"data:image/[a-z.+-]+;base64,", re.IGNORECASE)
_CHOICES = ("none", "auto", "required")


def chat(body: Body) -> Asked:
    """Raises UsageError that names the field."""
    said = body.objects("messages")
    if not said:
        raise UsageError("messages is required")
    names: dict[str, str] = {}  # id of a tool call → the tool
    messages = tuple(_message(each, names) for each in said)
    choice = _choice(body)
    given = None if choice == "none" else tools(body)
    return _asked(body, messages, _like(body, tools=given, tool_choice=None if choice == "none" else choice, format=_format(body)))


def completion(body: Body) -> Asked:
    """Raises UsageError that names the field."""
    prompts = body.texts("prompt")
    if len(prompts) != 1:
        raise UsageError("prompt must be one text")
    if (body.whole("best_of") or 1) != 1 or body.switch("echo"):
        raise UsageError("best_of and echo are not supported here")
    return _asked(body, (), _like(body, prompt=prompts[0]))


def _asked(body: Body, messages: tuple[Message, ...], like: Request) -> Asked:
    has_usage = body.object("stream_options").switch("include_usage") is True
    return Asked(body.needed("model"), messages, like, body.switch("stream") is True, has_usage)


def _like(body: Body, *, tools: Json = None, tool_choice: Json = None, format: Json = None, prompt: str | None = None) -> Request:  # noqa: A002
    for name in _REFUSED:
        if body.raw(name):
            raise UsageError(f"{name} is not supported here")
    if (body.whole("n") or 1) != 1:
        raise UsageError("n must be 1: one answer to one request")
    options: dict[str, Json] = {name: body.number(name, *span) for name, span in _NUMBERS.items()}
    options |= {"top_k": body.whole("top_k"), "stop": list(body.texts("stop")) or None}
    seed, limit = body.whole("seed"), body.whole("max_completion_tokens", 1) or body.whole("max_tokens")
    return Request(
        (),
        "",
        temperature=body.number("temperature", 0, 5),
        seed=seed if seed is not None and seed >= 0 else None,
        max_tokens=limit if limit is not None and limit > 0 else None,
        format=format,
        tools=tools,
        options={name: value for name, value in options.items() if value is not None},
        prompt=prompt,
        tool_choice=tool_choice,
        think=body.text("reasoning_effort"),
    )


def _format(body: Body) -> Json:
    wanted = body.object("response_format")
    kind = wanted.text("type") or "text"
    if kind == "json_schema":
        schema = wanted.object("json_schema")
        if "schema" not in schema:
            raise UsageError("response_format.json_schema.schema is required")
        schema.object("schema")
        return schema.raw("schema")
    if kind not in ("text", "json_object"):
        raise wanted.wrong("type", "text, json_object or json_schema")
    return "json" if kind == "json_object" else None


def _choice(body: Body) -> Json:
    choice = body.raw("tool_choice")
    if isinstance(choice, dict):
        body.object("tool_choice").object("function").needed("name")
    elif choice is not None and choice not in _CHOICES:
        raise body.wrong("tool_choice", f"one of {', '.join(_CHOICES)}, or a function")
    return None if choice == "auto" else choice


def _message(body: Body, names: dict[str, str]) -> Message:
    role = _ROLES.get(body.needed("role"))
    if role is None:
        raise body.wrong("role", f"one of {', '.join(_ROLES)}")
    calls = [_call(each, names) for each in body.objects("tool_calls")]
    identity = body.text("tool_call_id")
    text, images = _content(body)
    return Message(role, text, images, calls or None, names.get(identity or "") if role == "tool" else None, identity)


def _content(body: Body) -> tuple[str, tuple[str, ...]]:
    """Text, or parts: {"type": "text", "text"} and {"type": "image_url", "image_url": {"url": "data:image/…;base64,…"}}."""
    if not isinstance(body.raw("content"), list):
        return body.text("content") or "", ()
    texts: list[str] = []
    images: list[str] = []
    for part in body.objects("content"):
        kind = part.needed("type")
        if kind in ("text", "refusal"):
            texts.append(part.text(kind) or "")
        elif kind == "image_url":
            images.append(_picture(part.object("image_url").needed("url")))
        else:
            raise part.wrong("type", "text or image_url")
    return "\n".join(texts), tuple(images)


def _picture(url: str) -> str:
    """What lies elsewhere is not fetched: a client could so reach what only this machine can."""
    if not (start := _DATA.match(url[:100])):
        raise UsageError("image_url.url must hold the image itself: data:image/png;base64,…")
    return image(url[start.end() :], "image_url.url")


def _call(body: Body, names: dict[str, str]) -> Json:
    function, identity = body.object("function"), body.text("id") or ""
    name = names[identity] = function.needed("name")
    return {"id": identity, "function": {"name": name, "arguments": _arguments(function.text("arguments") or "{}")}}


def _arguments(text: str) -> Json:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, Mapping):
        raise UsageError("the arguments of a tool call must be a JSON object, as text")
    return dict(parsed)
