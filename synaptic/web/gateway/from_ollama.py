"""
Requests of Ollama's API.

    POST /api/chat      {"model", "messages": [{"role", "content", "images", "tool_calls", "tool_name"}], "tools", …}
    POST /api/generate  {"model", "prompt", "system", "images", "raw", …}
    both                "stream" (true unless said), "format", "options", "keep_alive" (seconds or "5m"), "think"

No messages and no prompt: the model is only loaded, or with keep_alive 0 unloaded.
"""

from __future__ import annotations

import dataclasses

from synaptic.engines.engine import Message, Request
from synaptic.errors import UsageError
from synaptic.results import Json
from synaptic.web.gateway.asked import ROLES, Asked, Deed, image, tools
from synaptic.web.gateway.body import Body

_NUMBERS = {  # option → from, to
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "tfs_z": (0, 100),
    "repeat_penalty": (0, 100),
    "presence_penalty": (-10, 10),
    "frequency_penalty": (-10, 10),
    "mirostat_tau": (0, 100),
    "mirostat_eta": (0, 100),
}
_WHOLES = ("top_k", "repeat_last_n", "mirostat", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread")
_SWITCHES = ("penalize_newline", "use_mmap", "use_mlock", "low_vram", "numa")
_UNKNOWN_HERE = ("suffix", "template")


def chat(body: Body) -> Asked:
    """Raises UsageError that names the field."""
    messages = tuple(_message(each) for each in body.objects("messages"))
    return _asked(body, messages, dataclasses.replace(_like(body), tools=tools(body)), is_empty=not messages)


def generate(body: Body) -> Asked:
    """Raises UsageError that names the field."""
    for name in _UNKNOWN_HERE:
        if body.text(name):
            raise UsageError(f"{name} is not supported here")
    like, prompt = _like(body), body.text("prompt") or ""
    if body.switch("raw"):
        return _asked(body, (), dataclasses.replace(like, prompt=prompt), is_empty=not prompt)
    images = _images(body)
    system = (Message("system", text),) if (text := body.text("system")) else ()
    return _asked(body, (*system, Message("user", prompt, images)), like, is_empty=not prompt and not images)


def keep_alive(body: Body) -> str | None:
    """Ollama takes seconds as a number, or Go's words for a time."""
    value = body.raw("keep_alive")
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise body.wrong("keep_alive", 'seconds, or text like "5m"')
    return f"{value:g}s" if isinstance(value, int | float) else value or None


def options(body: Body) -> dict[str, Json]:
    """Those that have names of Ollama's; what is no option of its is ignored, as it does itself."""
    given = body.object("options")
    found: dict[str, Json] = {name: given.number(name, *span) for name, span in _NUMBERS.items()}
    found |= {name: given.whole(name) for name in _WHOLES} | {name: given.switch(name) for name in _SWITCHES}
    found["stop"] = list(given.texts("stop")) or None
    return {name: value for name, value in found.items() if value is not None}


def _asked(body: Body, messages: tuple[Message, ...], like: Request, *, is_empty: bool) -> Asked:
    unloads = body.raw("keep_alive") in (0, "0", "0s")
    deed = (Deed.UNLOAD if unloads else Deed.LOAD) if is_empty else Deed.ANSWER
    return Asked(body.needed("model"), () if is_empty else messages, like, body.switch("stream") is not False, deed=deed)


def _like(body: Body) -> Request:
    given = body.object("options")
    limit, seed = given.whole("num_predict"), given.whole("seed")
    return Request(
        (),
        "",
        temperature=given.number("temperature", 0, 100),
        seed=seed if seed is not None and seed >= 0 else None,
        max_tokens=limit if limit is not None and limit > 0 else None,  # -1 and -2: until it ends
        context=given.whole("num_ctx", 1),
        format=_format(body),
        options=options(body),
        keep_alive=keep_alive(body),
        think=_think(body),
    )


def _format(body: Body) -> Json:
    wanted = body.raw("format") or None
    if wanted not in (None, "json") and not isinstance(wanted, dict):
        raise body.wrong("format", '"json" or a JSON schema')
    return wanted


def _think(body: Body) -> bool | str | None:
    wanted = body.raw("think")
    if wanted is not None and not isinstance(wanted, bool | str):
        raise body.wrong("think", "true, false or a word")
    return wanted


def _message(body: Body) -> Message:
    role = body.needed("role")
    if role not in ROLES:
        raise body.wrong("role", f"one of {', '.join(ROLES)}")
    calls = [_call(each) for each in body.objects("tool_calls")]
    return Message(role, body.text("content") or "", _images(body), calls or None, body.text("tool_name"), body.text("tool_call_id"))


def _call(body: Body) -> Json:
    function = body.object("function")
    function.object("arguments")
    call: dict[str, Json] = {"function": {"name": function.needed("name"), "arguments": function.raw("arguments") or {}}}
    return call | ({"id": body.text("id")} if "id" in body else {})


def _images(body: Body) -> tuple[str, ...]:
    return tuple(image(data, f"images[{place}]") for place, data in enumerate(body.texts("images")))
