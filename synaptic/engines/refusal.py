"""What a server of the OpenAI API says when it will not answer, in our words."""

from __future__ import annotations

import json
import re

from synaptic.errors import EngineError, RefusedError
from synaptic.terminal import one_line

RESTART = "try: coordinator restart"
_LONGEST_CONTEXT = re.compile(r"maximum context length is (\d{1,9}) tokens")  # vLLM's words, and OpenAI's
_LONGEST_ANSWER = re.compile(r"\bmax_(?:completion_)?tokens\b")
_LOADING = "unavailable_error"  # llama-server's


def refusal(url: str, model: str, status: int, body: bytes, remedy: str = RESTART, *, has_key: bool = True) -> EngineError:
    """The meaning of an HTTP answer that is not 200. `remedy` is the hint where the server is to blame; `has_key`: we sent one."""
    error = error_of(body)
    if too_long := _too_long(error):
        return too_long
    said = _message(error)
    if status == 429 or (status == 503 and remedy != RESTART and said and not _is_loading(error)):
        return EngineError(f"{url} takes no more requests now{_because(said)}", hint="try again in a moment, or: nodes add another server")
    if status == 503:
        return EngineError(f"{url} is still loading its model", hint="try again in a moment")
    if status in (401, 403):
        return _locked(url, remedy, has_key=has_key)
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


def _is_loading(error: object) -> bool:
    return isinstance(error, dict) and error.get("type") == _LOADING


def _locked(url: str, remedy: str, *, has_key: bool) -> EngineError:
    if remedy == RESTART:
        return EngineError(f"{url} does not accept our key: another server may have taken its port", hint=remedy)
    if not has_key:
        return EngineError(f"{url} wants an API key", hint=f"try: nodes add {url} --key-env NAME, the variable that holds it")
    return EngineError(
        f"{url} does not accept the key of its variable", hint="is it still the right one? nodes add --key-env named the variable"
    )


def _too_long(error: object) -> EngineError | None:
    if isinstance(error, dict) and (limit := _LONGEST_CONTEXT.search(said := _message(error, 1000))):
        return _longer_than(int(limit[1]), said, error)
    if isinstance(error, dict) and error.get("param") == "max_tokens" and "max_model_len" in _message(error):
        return _too_many(_message(error))
    if not isinstance(error, dict) or error.get("type") != "exceed_context_size_error":
        return None
    prompt, context = error.get("n_prompt_tokens"), error.get("n_ctx")
    if not isinstance(prompt, int) or not isinstance(context, int):
        return RefusedError("the prompt is longer than the context", hint="try: clear, or a larger context: config set context N")
    return RefusedError(
        f"the prompt has {prompt} tokens, but the context holds only {context}",
        hint="try: clear, a shorter prompt, or a larger context: config set context N",
    )


def _longer_than(context: int, said: str, error: dict[str, object]) -> EngineError:
    """Of a prompt, or of a prompt and the answer that was asked for."""
    if error.get("param") != "input_tokens" and _LONGEST_ANSWER.search(said):
        return _too_many(said)
    return RefusedError(
        f"the prompt does not fit the context of {context} tokens", hint="try: clear, a shorter prompt, or config set max_tokens N"
    )


def _too_many(said: str) -> EngineError:
    return RefusedError(
        f"more tokens were asked for than the model can write: {said}", hint="try: config set max_tokens N, with a smaller N"
    )


def _message(error: object, most: int = 200) -> str:
    text = error.get("message") if isinstance(error, dict) else error
    return one_line(text, most) if isinstance(text, str) else ""


def _because(said: str) -> str:
    return f": {said}" if said else ""
