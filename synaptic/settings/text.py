"""The text of a settings file ↔ what it says. Strict: what cannot be written back the same is no settings file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from itertools import pairwise

from synaptic.results import Json
from synaptic.terminal import one_line

LIMIT = 8 * 1024 * 1024  # bytes
DEPTH = 100  # levels; Python's own parser and writer give up, late, near 1000

Document = dict[str, Json]

# a whole string, even one that never ends (so that each character is looked at once), or a bracket
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


class BrokenFileError(Exception):
    """These bytes are no settings; the text says why."""


def parse(raw: bytes) -> Document:
    text = _decode(raw)
    _bound_depth(text)
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise BrokenFileError(f"line {error.lineno}, column {error.colno}: {error.msg.lower()}") from error
    except ValueError as error:  # an integer of more than 4300 digits
        raise BrokenFileError("it holds a number out of all bounds") from error
    if not isinstance(document, dict):
        raise BrokenFileError("it holds no JSON object")
    return document


def dump(document: Document) -> bytes:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate is written as JSON's own \udxxx


def _decode(raw: bytes) -> str:
    if len(raw) > LIMIT:
        raise BrokenFileError(f"it is larger than {LIMIT >> 20} MB")
    if not raw.strip():
        raise BrokenFileError("it is empty")
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise BrokenFileError("it begins with a byte order mark; it must be plain UTF-8")
    if b"\0" in raw:
        raise BrokenFileError("it holds NUL bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"it is not UTF-8 at byte {error.start}") from error


def _bound_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= DEPTH:
        return
    depth = 0
    for token in _TOKENS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token.group(), 0)
        if depth > DEPTH:
            raise BrokenFileError(f"it is nested more than {DEPTH} levels deep")


def _unique(pairs: Iterable[tuple[str, Json]]) -> Document:
    pairs = list(pairs)
    document = dict(pairs)
    if len(document) < len(pairs):
        twice = next(key for key, following in pairwise(sorted(key for key, _ in pairs)) if key == following)
        raise BrokenFileError(f'"{one_line(twice, 40)}" stands in it twice')
    return document


def _no_constant(name: str) -> float:
    raise BrokenFileError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise BrokenFileError(f"{one_line(text, 40)} is out of all bounds")
    return number
