"""Where on the web a model file is, and where a download may be led from there."""

from __future__ import annotations

import dataclasses
import os
import re
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from synaptic.errors import EngineError, UsageError
from synaptic.terminal import one_line

_PART = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.IGNORECASE)
MOST_PARTS = 1000


@dataclasses.dataclass(frozen=True)
class Address:
    """`file` is what the file is called there, and will be here: one name, never a path."""

    url: str
    file: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """UsageError says what it lacks."""
        try:
            pieces = urlsplit(text)
            is_whole = pieces.scheme in ("http", "https") and pieces.hostname and pieces.port != 0
        except ValueError:
            is_whole = False
        if not is_whole:
            raise UsageError(f"{one_line(text)} is no http or https address")
        if pieces.username is not None or pieces.password is not None:
            raise UsageError("an address with a user name or a password in it is not used", hint="put them into ~/.netrc")
        file = unquote(pieces.path.rpartition("/")[2])
        if not file.lower().endswith(".gguf") or file.startswith(".") or len(os.fsencode(file)) > 240 or not _is_plain(file):
            raise UsageError(f"{one_line(text)} does not end with the name of a .gguf file")
        return cls(urlunsplit(pieces._replace(fragment="")), file)


def is_url(text: str) -> bool:
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text) is not None


def all_parts(address: Address) -> list[Address]:
    """The address of every file of the model: it may be named by any of them."""
    part = _PART.fullmatch(address.file)
    if part is None:
        return [address]
    count = int(part["count"])
    if not 1 <= int(part["number"]) <= count <= MOST_PARTS:
        raise UsageError(f"{one_line(address.file)} is part {int(part['number'])} of {count}")
    marks = [f"-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
    pieces, ending = urlsplit(address.url), len(marks[0])
    if unquote(pieces.path)[-ending:] != pieces.path[-ending:]:
        raise UsageError(f"{one_line(address.url)} hides the number of the part")
    return [Address(urlunsplit(pieces._replace(path=pieces.path[:-ending] + mark)), part["stem"] + mark) for mark in marks]


def next_hop(url: str, location: str) -> str:
    """Where a redirection leads. EngineError: where no download shall go."""
    try:
        target = urljoin(url, location)
        pieces = urlsplit(target)
        host = pieces.hostname
    except ValueError:
        host = None
    if not host or pieces.scheme not in ("http", "https"):
        raise EngineError(f"{shown(url)} leads to {one_line(location, 80)}, which is no web address")
    if urlsplit(url).scheme == "https" and pieces.scheme == "http":
        raise EngineError(f"{shown(url)} leads from https to http, where anybody can change the file")
    return target


def shown(url: str) -> str:
    """Without the query, which may be a secret."""
    return one_line(urlunsplit(urlsplit(url)._replace(query="", fragment="")), 300)


def _is_plain(file: str) -> bool:
    return not re.search(r"[\x00-\x1f\x7f/\\]", file) and one_line(file, 300) == file
