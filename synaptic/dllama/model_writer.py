"""Writing a distributed-llama model (.m): the header, then tensor after tensor, into a file that appears when it is whole."""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from synaptic.dllama.header import ARCHITECTURES, KEYS, MAGIC, WEIGHTS, DllamaHeader
from synaptic.dllama.layout import Tensor, tensors

_ALWAYS = KEYS[: KEYS.index("weights") + 1]
_SCALING = ("rope_scaling", "rope_low_frequency", "rope_high_frequency", "rope_original_context", "rope_type")
_EPSILON = {1e-5: 5, 1e-6: 6}


def pack_header(header: DllamaHeader) -> bytes:
    """Keys that say what is the default anyway are left out, as older programs refuse those that they do not know."""
    scaling = _SCALING if header.rope_scaling != 1 else ()
    experts = ("moe_hidden_dim",) if header.moe_hidden_dim else ()
    keys = (*_ALWAYS, *scaling, "head_dim", "norm_epsilon", *experts)
    pairs = b"".join(struct.pack("<ii", KEYS.index(key), _stored(header, key)) for key in keys)
    return struct.pack("<Ii", MAGIC, 8 + len(pairs)) + pairs


def sized(header: DllamaHeader) -> DllamaHeader:
    """With the sizes of the file that `write_model` would write."""
    header = dataclasses.replace(header, header_bytes=len(pack_header(header)))
    return dataclasses.replace(header, file_bytes=header.expected_bytes)


def write_model(path: Path, header: DllamaHeader, content: Callable[[Tensor], Iterable[bytes]]) -> None:
    """
    `content`: of each tensor in the order of the file, in pieces. Blocks on the disk; OSError, and what `content` raises:
    then there is no file, or the one that was there.
    """
    header = sized(header)
    with appearing(path) as file:
        file.write(pack_header(header))
        for tensor in tensors(header):
            written = sum(file.write(piece) for piece in content(tensor))
            if written != tensor.bytes:
                raise ValueError(f"{tensor.name} {tensor.index} has {tensor.bytes} bytes, not {written}")


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when all of it is on the disk, and vanishes when something is raised before. OSError."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _stored(header: DllamaHeader, key: str) -> int:
    if key == "architecture":
        return next(number for number, name in ARCHITECTURES.items() if name == header.architecture)
    if key == "weights":
        return next(number for number, name in WEIGHTS.items() if name == header.quantization)
    if key == "norm_epsilon":
        return _EPSILON[header.norm_epsilon]
    value = getattr(header, key)
    if value != int(value):
        raise ValueError(f"{key} = {value} is no whole number")
    return int(value)
