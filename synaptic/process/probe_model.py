"""
A GGUF model of random weights, to measure with: too large for a processor's cache, too small to be in the way.

113 MB of Q8_0 in 8 layers, no vocabulary. Every tensor is below 10 MiB: a worker keeps none of it in its cache.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from synaptic.files import appearing

LAYERS, WIDTH, FORWARD, HEADS, KV_HEADS, VOCABULARY = 8, 1024, 2816, 16, 4, 8192
NAME = "probe-1.gguf"
READ = 104_796_160  # bytes that one token reads: all but the embedding
FLOP = 2 * 98_583_552  # of one token
_F32, _Q8_0 = 0, 8  # ggml's types
_U32, _FLOAT, _STRING = 4, 6, 8  # GGUF's
_ALIGNMENT = 32
_BLOCK = 32  # elements of Q8_0: a scale of two bytes, then a byte for each


def probe_model(folder: Path) -> Path:
    """The file, written unless it is there. Blocks on the disk; OSError."""
    path = folder / NAME
    if path.exists() and path.stat().st_size == _size():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with appearing(path) as file:
        file.writelines(_pieces())
    return path


def _tensors() -> list[tuple[str, tuple[int, ...]]]:
    kv = WIDTH // HEADS * KV_HEADS
    tensors: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd", (WIDTH, VOCABULARY)),
        ("output", (WIDTH, VOCABULARY)),
        ("output_norm", (WIDTH,)),
    ]
    for layer in range(LAYERS):
        parts: list[tuple[str, tuple[int, ...]]] = [
            ("attn_norm", (WIDTH,)),
            ("ffn_norm", (WIDTH,)),
            ("attn_q", (WIDTH, WIDTH)),
            ("attn_k", (WIDTH, kv)),
            ("attn_v", (WIDTH, kv)),
            ("attn_output", (WIDTH, WIDTH)),
            ("ffn_gate", (WIDTH, FORWARD)),
            ("ffn_up", (WIDTH, FORWARD)),
            ("ffn_down", (FORWARD, WIDTH)),
        ]
        tensors += [(f"blk.{layer}.{name}", shape) for name, shape in parts]
    return tensors


def _pieces() -> Iterator[bytes]:
    head = _head()
    yield head + bytes(-len(head) % _ALIGNMENT)
    scale = struct.pack("<e", 0.01)
    block = b"".join(scale + os.urandom(_BLOCK) for _ in range(WIDTH))
    one = struct.pack("<f", 1.0)
    for _, shape in _tensors():
        size = _bytes_of(shape)
        yield one * shape[0] if len(shape) == 1 else block * (size // len(block)) + block[: size % len(block)]
        yield bytes(-size % _ALIGNMENT)


def _head() -> bytes:
    numbers = {
        "block_count": LAYERS,
        "embedding_length": WIDTH,
        "feed_forward_length": FORWARD,
        "context_length": 4096,
        "vocab_size": VOCABULARY,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "rope.dimension_count": WIDTH // HEADS,
    }
    keys = [_text(f"llama.{name}") + struct.pack("<II", _U32, number) for name, number in numbers.items()]
    keys.append(_text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", _FLOAT, 1e-5))
    texts = {"general.architecture": "llama", "tokenizer.ggml.model": "no_vocab"}
    keys += [_text(name) + struct.pack("<I", _STRING) + _text(value) for name, value in texts.items()]
    entries, offset = [], 0
    for name, shape in _tensors():
        kind = _F32 if len(shape) == 1 else _Q8_0
        entries.append(_text(f"{name}.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))
        offset += _bytes_of(shape) + -_bytes_of(shape) % _ALIGNMENT
    return b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(keys)) + b"".join(keys + entries)


def _bytes_of(shape: tuple[int, ...]) -> int:
    return 4 * shape[0] if len(shape) == 1 else shape[0] * shape[1] // _BLOCK * (_BLOCK + 2)


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _size() -> int:
    head = len(_head())
    return head + -head % _ALIGNMENT + sum(_bytes_of(shape) + -_bytes_of(shape) % _ALIGNMENT for _, shape in _tensors())
