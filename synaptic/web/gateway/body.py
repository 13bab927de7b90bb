"""What a client sends: a JSON object, each field of which must be what it is read as. UsageError names the field."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from synaptic.errors import UsageError
from synaptic.results import Json
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from aiohttp import web

WITHIN = 60.0  # seconds in which a body must have come
LONG = 256 * 1024  # bytes; parsing more would hold up everyone else
LARGEST = 2**53


class Body:
    """null is as good as nothing."""

    def __init__(self, fields: Mapping[str, Json], path: str = "") -> None:
        self._fields = fields
        self._path = path

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def names(self) -> list[str]:
        return [name for name in self._fields if name in self]

    def raw(self, name: str) -> Json:
        return self._fields.get(name)

    def text(self, name: str) -> str | None:
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(name, "text")
        return value.encode(errors="replace").decode()  # JSON can hold lone surrogates, which nothing could write

    def needed(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise UsageError(f"{self._path}{name} is required")
        return value

    def switch(self, name: str) -> bool | None:
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
            raise self.wrong(name, f"a number from {low:g} to {high:g}")
        return value

    def whole(self, name: str, low: int = -LARGEST, high: int = LARGEST) -> int | None:
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, "a whole number" if low == -LARGEST else f"a whole number from {low} to {high}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """One text or a list of them."""
        value = self.raw(name)
        listed = [value] if isinstance(value, str) else value or []
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise self.wrong(name, "text, or a list of texts")
        return tuple(str(each).encode(errors="replace").decode() for each in listed)

    def object(self, name: str) -> Body:
        value = self.raw(name)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Body(value or {}, f"{self._path}{name}.")

    def objects(self, name: str) -> list[Body]:
        value = self.raw(name)
        if value is not None and not isinstance(value, list):
            raise self.wrong(name, "a list of objects")
        return [self._entry(name, place, each) for place, each in enumerate(value or [])]

    def wrong(self, name: str, expected: str) -> UsageError:
        return UsageError(f"{self._path}{name} must be {expected}, not {one_line(json.dumps(self.raw(name)), 60)}")

    def _entry(self, name: str, place: int, value: Json) -> Body:
        if not isinstance(value, dict):
            raise UsageError(f"{self._path}{name}[{place}] must be an object")
        return Body(value, f"{self._path}{name}[{place}].")


async def read(request: web.Request) -> Body:
    """The body of a request, whatever its Content-Type says: curl's `-d` calls everything a form."""
    try:
        async with asyncio.timeout(WITHIN):
            data = await request.read()
    except TimeoutError:
        raise UsageError(f"the request did not come within {WITHIN:g} s") from None
    document = await asyncio.to_thread(_parsed, data) if len(data) > LONG else _parsed(data)
    if not isinstance(document, dict):
        raise UsageError("the body must be a JSON object")
    return Body(document)


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is no JSON: {one_line(str(error), 100)}") from error
