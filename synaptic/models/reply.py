"""What a web server answers when it is asked for a file: redirections followed one by one, headers read once."""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import re
from collections.abc import Iterator

import requests

from synaptic.errors import EngineError
from synaptic.models.address import next_hop, shown
from synaptic.terminal import one_line

MOST_HOPS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_LATER = {429, 500, 502, 503, 504}  # it may do better soon
_CAUSES = {401: "wants to know who asks", 403: "does not give that file away", 404: "has no such file", 410: "has no such file any more"}


class BusyError(requests.ConnectionError):
    """The server is there, and asks for patience."""


@dataclasses.dataclass(frozen=True)
class Reply:
    """200, 206 or 416. `total`: bytes of the whole file, None when the server does not say; `start`: where these begin."""

    status: int
    start: int
    total: int | None
    validator: str  # fit for If-Range; empty: none
    sha256: str | None
    _response: requests.Response

    def pieces(self, size: int) -> Iterator[bytes]:
        pieces: Iterator[bytes] = self._response.iter_content(size)
        return pieces

    def break_off(self) -> None:
        """From another thread: whoever waits for a piece has it fail."""
        with contextlib.suppress(AttributeError, RuntimeError, ValueError, OSError):  # an old urllib3, or it is over
            self._response.raw.shutdown()


@contextlib.contextmanager
def ask(url: str, headers: dict[str, str], connect: float, read: float) -> Iterator[Reply]:
    """EngineError for an answer that is no file; requests' errors for a connection that fails."""
    with requests.Session() as session, contextlib.ExitStack() as stack:
        for _ in range(MOST_HOPS + 1):
            response = stack.enter_context(session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=(connect, read)))
            if response.status_code not in _REDIRECTS:
                yield _understood(url, response)
                return
            url = next_hop(url, response.headers.get("Location", ""))
        raise EngineError(f"{shown(url)} leads on and on: more than {MOST_HOPS} redirections")


def _understood(url: str, response: requests.Response) -> Reply:
    status, headers = response.status_code, response.headers
    if status in _LATER:
        raise BusyError(f"status {status}")
    if status not in (200, 206, 416):
        raise EngineError(f"{shown(url)}: the server {_CAUSES.get(status, f'answers with status {status}')}", hint="is the address right?")
    if headers.get("Content-Encoding", "identity") != "identity":
        raise EngineError(f"{shown(url)} comes as {one_line(headers['Content-Encoding'], 20)}, though that was not asked for")
    if status == 200:
        start, total = 0, _number(headers.get("Content-Length"))
    else:
        start, total = _range(headers.get("Content-Range", ""))
    return Reply(status, start, total, _validator(headers.get("ETag", ""), headers.get("Last-Modified", "")), _sha256(headers), response)


def _range(text: str) -> tuple[int, int | None]:
    """`bytes 100-199/200` → 100, 200; `bytes */200` → -1, 200."""
    match = re.fullmatch(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)", text.strip())
    return (int(match[1]) if match[1] else -1, _number(match[2])) if match else (-1, None)


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else None


def _validator(etag: str, modified: str) -> str:
    """A weak ETag promises no equal bytes, and may not be used for ranges."""
    found = etag if etag.startswith('"') else modified
    return found if len(found) <= 500 and found.isprintable() and found.isascii() else ""


def _sha256(headers: requests.structures.CaseInsensitiveDict[str]) -> str | None:
    match = re.search(r"sha-256=:([A-Za-z0-9+/=]{44}):", headers.get("Repr-Digest", ""))
    try:
        return base64.b64decode(match[1], validate=True).hex() if match else None
    except binascii.Error:
        return None
