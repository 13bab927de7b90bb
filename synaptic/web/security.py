"""
Who may ask a server of ours what. One middleware, in front of every route.

    Host      one of ours, on the port that was asked: a page elsewhere that rebinds its name to this machine is refused
    Origin    a browser's websockets and everything that is not GET or HEAD must come from a page of ours
    token     for every path that is not open; `Authorization: Bearer …`, or for a browser's websocket, which cannot set
              headers, the subprotocol `token.…` beside `synaptic`

A page gets its token from the fragment of its URL, which no browser sends.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import json
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic.endpoint import Endpoint
from synaptic.errors import SynapticError, os_reason

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Middleware

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
    Refusal = Callable[[int, str], web.StreamResponse]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
ANY_ADDRESS = "*"  # any IP address as it stands; a name would have to be resolved, and a stranger may own it
PROTOCOL, TOKEN_PROTOCOL = "synaptic", "token."
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "synaptic",
}
_TOKEN_BYTES = 24
_READS = ("GET", "HEAD")


def fresh_token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)


def kept_token(path: Path | None) -> str:
    """The token in a file that only its owner can read, made when there is none: a page that was left open works after a restart."""
    if path is None:
        return fresh_token()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _read(path) or _write(path, fresh_token())
    except OSError as error:
        raise SynapticError(f"the token cannot be kept in {path}: {os_reason(error)}") from error


def hosts_of(bind: str) -> tuple[str, ...]:
    """The names under which a server that listens on `bind` may be asked."""
    if Endpoint(bind, 0).is_loopback:
        return (*LOOPBACK, f"[{bind}]" if ":" in bind else bind)
    name = socket.gethostname().lower()
    return (*LOOPBACK, ANY_ADDRESS, bind.lower(), name, f"{name}.local")


def guard(hosts: Sequence[str], token: str | None, open_paths: Collection[str] = (), *, refuse: Refusal | None = None) -> Middleware:
    """`token` None: no path needs one. `refuse(status, sentence)` words a refusal; without it, as contracts.md has errors."""
    from aiohttp import web

    refused = refuse or _refused

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if objection := _objection(request, hosts, token, open_paths):
            response = refused(*objection)
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = refused(error.status, error.reason.lower())
        if not response.prepared:
            response.headers.update({name: value for name, value in HEADERS.items() if name not in response.headers})
        return response

    return middleware


def has_token(request: web.Request, token: str) -> bool:
    """Compared in constant time."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        offered = [word.strip() for word in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        given = next((word.removeprefix(TOKEN_PROTOCOL) for word in offered if word.startswith(TOKEN_PROTOCOL)), "")
    return hmac.compare_digest(given.strip().encode(), token.encode())


def proof(token: str, nonce: str, port: int) -> str:
    """That a server knows the token, for one who knows it too. The port is in it: a stranger on another cannot pass ours on."""
    return hmac.new(token.encode(), f"{nonce} {port}".encode(), hashlib.sha256).hexdigest()


def _objection(request: web.Request, hosts: Sequence[str], token: str | None, open_paths: Collection[str]) -> tuple[int, str] | None:
    if len(request.headers.getall("Host", ())) != 1 or not _is_ours(request.headers["Host"], hosts, port_of(request)):
        return 421, "no server of that name here"
    is_upgrade = "Upgrade" in request.headers
    if (is_upgrade or request.method not in _READS) and not _is_same_origin(request):
        return 403, "only pages of this server may ask that"
    if token is not None and (is_upgrade or request.path not in open_paths) and not has_token(request, token):
        return 401, "the token is missing or wrong"
    return None


def _is_ours(host: str, hosts: Sequence[str], port: int) -> bool:
    name, colon, asked = host.lower().rpartition(":") if not host.endswith("]") else (host.lower(), "", "")
    if not colon:
        name, asked = host.lower(), "80"
    return asked == str(port) and (name in hosts or (ANY_ADDRESS in hosts and _is_address(name)))


def _is_same_origin(request: web.Request) -> bool:
    """A program that is no browser sends neither; a browser cannot leave them out."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    origins = request.headers.getall("Origin", ())
    return not origins or [origin.lower() for origin in origins] == [f"http://{request.headers['Host'].lower()}"]


def port_of(request: web.Request) -> int:
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return int(name[1]) if name else 0


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    return False


def _refused(status: int, sentence: str) -> web.StreamResponse:
    from aiohttp import web

    hint = "open the address that `dashboard url` prints" if status == 401 else None
    text = json.dumps({"error": {"kind": "refused", "message": sentence, "hint": hint}})
    return web.Response(status=status, text=text, content_type="application/json")


def _read(path: Path) -> str | None:
    """None: there is none, or others could have read or written it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(handle) as file:
        status = os.fstat(handle)
        text = file.read(200).strip()
        is_private = status.st_uid == os.getuid() and not status.st_mode & 0o077
        return text if is_private and len(text) >= _TOKEN_BYTES and text.isascii() and text.isprintable() else None


def _write(path: Path, token: str) -> str:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token + "\n")
    return token
