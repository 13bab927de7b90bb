"""The page's files: a fixed table, read once. A path that is not in it is nobody's, whatever it looks like."""

from __future__ import annotations

import dataclasses
import hashlib

from aiohttp import web

from synaptic import shipped
from synaptic.errors import SynapticError, os_reason

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
MODULES = (
    *("main", "dom", "format", "link", "tabs", "theme", "token", "feed", "result"),
    *("cluster", "split", "activity", "chart", "nodes", "console", "header"),
)
FILES = ("index.html", "style.css", "parts.css", "icon.svg", *(f"{name}.js" for name in MODULES))


@dataclasses.dataclass(frozen=True)
class File:
    content: bytes
    type: str
    tag: str


def paths() -> dict[str, str]:
    """Path → the file behind it."""
    return {"/": "index.html", **{f"/{name}": name for name in FILES if name != "index.html"}}


def load() -> dict[str, File]:
    """Raises SynapticError where the page did not come with the program."""
    return {path: _read(name) for path, name in paths().items()}


async def answer(request: web.Request, file: File) -> web.Response:
    headers = {"ETag": file.tag, "Cache-Control": "no-cache"}
    if request.headers.get("If-None-Match") == file.tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.content, content_type=file.type, charset="utf-8", headers=headers)


def _read(name: str) -> File:
    try:
        content = shipped.page(name).read_bytes()
    except OSError as error:
        raise SynapticError(f"the dashboard's page is not here: {name}: {os_reason(error)}", hint="install the program again") from error
    return File(content, _TYPES[name.rsplit(".", 1)[1]], f'"{hashlib.sha256(content).hexdigest()[:16]}"')
