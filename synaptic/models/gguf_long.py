"""Values of GGUF keys in full: a vocabulary, its scores and merges, a chat template. What is read at all is bounded by the source."""

from __future__ import annotations

import struct

from synaptic.models.gguf_source import BITE, Source
from synaptic.models.gguf_types import ARRAY, SCALARS, STRING

Whole = bytes | tuple[bytes, ...] | tuple[int | float, ...]
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


def read_whole(source: Source, kind: int) -> Whole:
    """A string as bytes, an array, or a single number as an array of one. EngineError."""
    if kind == STRING:
        return source.string()
    if kind != ARRAY:
        return _numbers(source, kind, 1)
    kind, count = source.number(_U32), source.number(_U64)
    if kind != STRING:
        return _numbers(source, kind, count)
    if count * _U64.size > source.remaining:
        raise source.ends_early()
    return tuple(source.string() for _ in range(count))


def _numbers(source: Source, kind: int, count: int) -> tuple[int | float, ...]:
    form = SCALARS.get(kind)
    if form is None:
        raise source.refusal(f"claims a value of the unknown type {kind}")
    size = struct.calcsize(f"<{form}")
    if count * size > source.remaining:
        raise source.ends_early()
    found: list[int | float] = []
    while (left := min(count - len(found), BITE // size)) > 0:
        found += struct.unpack(f"<{left}{form}", source.take(left * size))
    return tuple(found)
