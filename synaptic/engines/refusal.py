"""What a server of the OpenAI API says when it will not answer, in our words."""

from __future__ import annotations

import json

from synaptic.errors import EngineError, RefusedError
from synaptic.terminal import one_line

RESTART = "try: coordinator restart"


def refusal(url: str, model: str, status: int, body: bytes, remedy: str = RESTART) -> EngineError:
    """The meaning of an HTTP answer that is not 200. `remedy` is the hint where the server is to blame."""
    error = error_of(body)
    if too_long := _too_long(error):
        return too_long
    said = _message(error)
    if status == 503:
        return EngineError(f"{url} is still loading its model", hint="try again in a moment")
    if status in (401, 403):
        return EngineError(f"{url} does not accept our key: another server may have taken its port", hint=remedy)
    if status == 404:
        return RefusedError(f"{url} has no model {one_line(model, 80)}, or no chat API{_because(said)}", hint="try: model list")
    if 300 <= status < 400:
        return EngineError(f"{url} sends us elsewhere (HTTP {status}); redirects are not followed", hint="name the address it points to")
    is_unable = status == 501 or "is not supported" in said  # llama-server says 500 to images that its model cannot see
    said = f"{url} refused the request (HTTP {status}){_because(said)}"
    return EngineError(said, hint=remedy) if status >= 500 and not is_unable else RefusedError(said)


def broken(error: object) -> EngineError:
    """The meaning of an error in the middle of a stream."""
    return _too_long(error) or EngineError(f"the answer ended early{_because(_message(error) or 'the server failed')}", hint="try: retry")


def error_of(body: bytes) -> object:
    """The `error` of a JSON answer; {} when there is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document.get("error", document) if isinstance(document, dict) else {}


def _too_long(error: object) -> EngineError | None:
    if not isinstance(error, dict) or error.get("type") != "exceed_context_size_error":
        return None
    prompt, context = error.get("n_prompt_tokens"), error.get("n_ctx")
    if not isinstance(prompt, int) or not isinstance(context, int):
        return RefusedError("the prompt is longer than the context", hint="try: clear, or a larger context: config set context N")
    return RefusedError(
        f"the prompt has {prompt} tokens, but the context holds only {context}",
        hint="try: clear, a shorter prompt, or a larger context: config set context N",
    )


def _message(error: object) -> str:
    text = error.get("message") if isinstance(error, dict) else error
    return one_line(text) if isinstance(text, str) else ""


def _because(said: str) -> str:
    return f": {said}" if said else ""
