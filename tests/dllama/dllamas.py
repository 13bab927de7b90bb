"""Distributed-llama models as its converter writes them, with zeros for weights."""

from __future__ import annotations

import struct
from pathlib import Path

_FIRST = (
    "version",
    "arch",
    "dim",
    "hidden",
    "layers",
    "heads",
    "kv_heads",
    "experts",
    "active",
    "vocab",
    "seq_len",
    "act",
    "theta",
    "weights",
)
_SECOND = {"factor": 14, "low": 15, "high": 16, "original": 17, "rope_type": 18, "head_dim": 19, "epsilon": 20, "moe_hidden": 21}
KEYS = {name: number for number, name in enumerate(_FIRST)} | _SECOND
_SHAPE = {"arch": 0xABCD00, "dim": 64, "hidden": 160, "layers": 2, "heads": 4, "kv_heads": 2, "experts": 0, "active": 0}
SMALL = {"version": 0, **_SHAPE, "vocab": 100, "seq_len": 512, "weights": 2}


def head(**values: int) -> bytes:
    pairs = b"".join(struct.pack("<ii", KEYS[key], value) for key, value in values.items())
    return struct.pack("<ii", 0x0A00ABCD, 8 + len(pairs)) + pairs


def write(path: Path, size: int, **change: int) -> Path:
    """`size`: of the tensors, as the caller worked it out."""
    path.write_bytes(head(**SMALL | change) + bytes(size))
    return path


# dim 64, 4 heads of 16, 2 for keys and values, hidden 160, 100 tokens; Q40: 18 bytes for 32 values
Q40 = 18 / 32
LAYER = 64 * 64 + 32 * 64 + 32 * 64 + 64 * 64 + 3 * 64 * 160
LLAMA_BYTES = int(100 * 64 * 4 + 2 * (LAYER * Q40 + 2 * 64 * 4) + 64 * 4 + 100 * 64 * Q40)
QWEN3_BYTES = LLAMA_BYTES + 2 * 2 * 16 * 4
