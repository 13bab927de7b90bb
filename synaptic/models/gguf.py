"""
The header of a GGUF file: what a model is, without loading it. Files are untrusted.

    magic "GGUF" · version u32 · tensor count u64 · key count u64
    keys:     name string · type u32 · value              string: length u64 · UTF-8
    tensors:  name string · dimensions u32 · u64 each · type u32 · offset u64
    padding to the alignment · tensor data

Format: docs/gguf.md of the ggml repository, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Collection, Iterable
from pathlib import Path

from synaptic.models.gguf_header import Header, Keys, Tensor, Value, describe
from synaptic.models.gguf_long import Whole, read_whole
from synaptic.models.gguf_source import Source, opened
from synaptic.models.gguf_types import ARRAY, SCALARS, STRING, TENSOR_TYPES
from synaptic.results import gib
from synaptic.terminal import one_line

MOST_TENSORS = 100_000
MOST_KEYS = 10_000
MOST_DIMENSIONS = 4  # GGML_MAX_DIMS
LONGEST_KEPT = 1024  # of an array, or of a text: one value per layer is kept, one per token is not
LARGEST_KEYS = 64 * 1024**2  # bytes
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclasses.dataclass(frozen=True)
class Content:
    """`whole`: the long values that were asked for. `start`: where in the file the data of the tensors begins."""

    keys: Keys
    whole: dict[str, Whole]
    tensors: list[Tensor]
    start: int


def read_header(path: Path) -> Header:
    """Blocks on the disk. EngineError: one sentence that names the file and the cause."""
    with opened(path) as source:
        keys, tensors, _ = _read(source)
        try:
            return describe(keys, tensors, source.size)
        except ValueError as error:
            raise source.refusal(str(error)) from error


def read_tensors(path: Path) -> tuple[int, list[Tensor]]:
    """Where in the file the tensor data begins, and its tensors. Blocks on the disk; EngineError as above."""
    with opened(path) as source:
        _, tensors, start = _read(source)
        return start, tensors


def without_weights(path: Path) -> bytes:
    """The file as if it had no tensors and were whole: all that an engine needs to refuse it, or not. Blocks on the disk; EngineError."""
    kept: list[tuple[int, int]] = []
    with opened(path) as source:
        _, key_count = _preamble(source)
        for _ in range(key_count):
            start, keys = source.position, Keys()
            _read_key(source, keys, {})
            kept += [] if any(name.startswith("split.") for name in keys) else [(start, source.position)]
        if source.position > LARGEST_KEYS:
            raise source.refusal(f"has keys of {gib(source.position)}")
    with path.open("rb") as file:
        raw = file.read(kept[-1][1] if kept else 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(kept)) + b"".join(raw[start:end] for start, end in kept)
    return head + bytes(-len(head) % 32)


def read_content(path: Path, whole: Collection[str]) -> Content:
    """With the full value of the keys named in `whole`, however long. Blocks on the disk; EngineError as above."""
    found: dict[str, Whole | None] = dict.fromkeys(whole)
    with opened(path) as source:
        keys, tensors, start = _read(source, found)
        return Content(keys, {name: value for name, value in found.items() if value is not None}, tensors, start)


def _read(source: Source, whole: dict[str, Whole | None] | None = None) -> tuple[Keys, list[Tensor], int]:
    tensor_count, key_count = _preamble(source)
    keys: Keys = {}
    for _ in range(key_count):
        _read_key(source, keys, whole or {})
    tensors: dict[str, Tensor] = {}
    for _ in range(tensor_count):
        tensor = _read_tensor(source)
        if tensor.name in tensors:
            raise source.refusal(f"has two tensors called {one_line(tensor.name, 60)}")
        tensors[tensor.name] = tensor
    return keys, list(tensors.values()), _check_extent(source, keys, tensors.values())


def _preamble(source: Source) -> tuple[int, int]:
    if source.size < 4 or source.take(4) != b"GGUF":
        raise source.refusal("is not a GGUF file")
    version = source.number(_U32)
    if version & 0xFFFF == 0:
        raise source.refusal("is a big-endian GGUF file; only little-endian ones can be loaded here")
    if version not in (2, 3):
        raise source.refusal(f"is a GGUF file of version {version}; versions 2 and 3 can be loaded")
    tensor_count, key_count = source.number(_U64), source.number(_U64)
    for count, most, what in ((tensor_count, MOST_TENSORS, "tensors"), (key_count, MOST_KEYS, "keys")):
        if count > most:
            raise source.refusal(f"claims {count} {what}")
    return tensor_count, key_count


def _read_key(source: Source, keys: Keys, whole: dict[str, Whole | None]) -> None:
    name = _name(source.string())
    kind = source.number(_U32)
    if name in keys:
        raise source.refusal(f"has the key {one_line(name, 60)} twice")
    if name in whole:
        keys[name], whole[name] = None, read_whole(source, kind)
    else:
        keys[name] = _read_value(source, kind)


def _read_value(source: Source, kind: int) -> Value:
    if kind == STRING:
        return source.string()[:LONGEST_KEPT].decode("utf-8", "replace")
    if kind == ARRAY:
        return _read_array(source, kind=source.number(_U32), count=source.number(_U64))
    if form := SCALARS.get(kind):
        value = struct.unpack(f"<{form}", source.take(struct.calcsize(f"<{form}")))[0]
        return value if isinstance(value, int | float) else None
    raise source.refusal(f"claims a value of the unknown type {kind}")


def _read_array(source: Source, kind: int, count: int) -> Value:
    form = "Q" if kind == STRING else SCALARS.get(kind)  # a string begins with its length
    if form is None:
        raise source.refusal(f"claims an array of the unknown type {kind}")
    size = count * struct.calcsize(f"<{form}")
    if size > source.remaining:
        raise source.refusal(f"claims an array of {count} values") if count > 2**32 else source.ends_early()
    if kind == STRING:
        source.skip_strings(count)
    elif count <= LONGEST_KEPT and form not in "fd":
        return struct.unpack(f"<{count}{form}", source.take(size))
    else:
        source.skip(size)
    return None


def _read_tensor(source: Source) -> Tensor:
    name = _name(source.string())
    dimensions = source.number(_U32)
    if dimensions > MOST_DIMENSIONS:
        raise source.refusal(f"claims a tensor of {dimensions} dimensions")
    shape = [source.number(_U64) for _ in range(dimensions)]
    number, offset = source.number(_U32), source.number(_U64)
    kind = TENSOR_TYPES.get(number)
    if kind is None:
        raise source.refusal(f"has a tensor of the type {number}, which is unknown here")
    elements = math.prod(shape)
    if elements == 0 or elements >= 2**63 or (shape[0] if shape else 1) % kind.block:
        raise source.refusal(f"claims a {kind.name} tensor of the shape {shape}")
    return Tensor(name, kind.name, elements, elements // kind.block * kind.bytes, offset, tuple(reversed(shape)))


def _check_extent(source: Source, keys: Keys, tensors: Iterable[Tensor]) -> int:
    """The data of every tensor lies in the file, and none of it is counted twice. Returns where it begins."""
    alignment = keys.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise source.refusal("claims an alignment that is no power of two")
    start = math.ceil(source.position / alignment) * alignment
    end = total = 0
    for tensor in tensors:
        if tensor.offset % alignment:
            raise source.refusal(f"claims that the tensor {one_line(tensor.name, 60)} is not aligned")
        end = max(end, start + tensor.offset + tensor.bytes)
        total += tensor.bytes
    if end >= 2**63:
        raise source.refusal(f"claims data at {end}")
    if end > source.size:
        raise source.ends_early(f", {gib(end - source.size)} are missing")
    if total > max(source.size - start, 0):
        raise source.refusal("claims tensors that overlap")
    return start


def _name(raw: bytes) -> str:
    return raw.decode("latin-1")  # ASCII by the specification; this keeps any others apart
