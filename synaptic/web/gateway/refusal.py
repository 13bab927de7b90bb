"""What a client is told when it gets no answer: a status, a sentence, and when to come back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic.engines.engine import LostError
from synaptic.errors import BackendError, RefusedError, SynapticError, UsageError
from synaptic.results import Json

if TYPE_CHECKING:
    from aiohttp import web

SOON = 5  # seconds
_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    501: "not_supported_error",
}


class UnknownModelError(SynapticError):
    """404."""


class UnsupportedError(RefusedError):
    """501: no route of this program can do that."""


class NotNowError(SynapticError):
    """503, or `status`: the same request may be answered in `seconds`."""

    def __init__(self, message: str, seconds: float = SOON, status: int = 503) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.status = status


@dataclasses.dataclass(frozen=True)
class Refusal:
    status: int
    message: str
    code: str | None = None  # OpenAI's word for it
    retry_after: int | None = None  # seconds

    def in_shape_of(self, path: str) -> Json:
        return self.as_openai() if path.startswith("/v1/") else {"error": self.message}

    def as_openai(self) -> Json:
        kind = _KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.code}}

    def response(self, path: str) -> web.Response:
        from aiohttp import web

        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        return web.json_response(self.in_shape_of(path), status=self.status, headers=headers, dumps=_dumps)


def refusal_of(error: SynapticError, home: Path | None = None) -> Refusal:
    """In the words of the error; `home` is not told to strangers."""
    message = f"{error} ({error.hint})" if error.hint else str(error)
    if home:
        message = message.replace(str(home), "~")
    if isinstance(error, NotNowError):
        return Refusal(error.status, message, retry_after=max(round(error.seconds), 1))
    if isinstance(error, UnknownModelError):
        return Refusal(404, message, "model_not_found")
    if isinstance(error, UnsupportedError):
        return Refusal(501, message)
    if isinstance(error, UsageError | RefusedError):
        return Refusal(400, message, "context_length_exceeded" if "context holds only" in message else None)
    if isinstance(error, BackendError | LostError):
        return Refusal(503, message, retry_after=SOON)
    return Refusal(500, message)


def _dumps(document: object) -> str:
    return json.dumps(document, ensure_ascii=False)
