"""Small distributed-llama models with random weights, in the order and the formats of the real converter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from dllama.dllamas import SMALL, head

LLAMA, QWEN3, QWEN3_MOE = 0xABCD00, 0xABCD01, 0xABCD02
F32, Q40 = 0, 2
BASE = SMALL | {
    "dim": 128,
    "hidden": 256,
    "layers": 6,
    "heads": 8,
    "kv_heads": 4,
    "vocab": 768,
    "seq_len": 256,
    "theta": 10_000,
    "weights": Q40,
}
KINDS = {
    "llama": {"arch": LLAMA},
    "llama-scaled": {"arch": LLAMA, "rope_type": 2, "factor": 8, "low": 1, "high": 4, "original": 64},
    "llama-f32": {"arch": LLAMA, "weights": F32},
    "qwen3": {"arch": QWEN3, "head_dim": 32, "epsilon": 6},
    "qwen3moe": {"arch": QWEN3_MOE, "head_dim": 32, "epsilon": 6, "experts": 4, "active": 2, "moe_hidden": 128},
}


def write_model(path: Path, kind: str = "llama", **change: int) -> Path:
    """The same file for the same arguments. It fits the demo's tokenizer."""
    values = BASE | KINDS[kind] | change
    random = np.random.default_rng(7)
    with path.open("wb") as file:
        file.write(head(**values))
        for rows, columns, is_weight in _tensors(values):
            file.write(_tensor(random, rows, columns, quantized=is_weight and values["weights"] == Q40))
    return path


def _tensors(v: dict[str, int]) -> Iterator[tuple[int, int, bool]]:
    """Rows, columns, whether it is of the model's weight type."""
    size = v.get("head_dim", 0) or v["dim"] // v["heads"]
    wide, narrow = size * v["heads"], size * v["kv_heads"]
    hidden = v["moe_hidden"] if v["experts"] else v["hidden"]
    yield v["vocab"], v["dim"], False
    for _ in range(v["layers"]):
        yield from ((wide, v["dim"], True), (narrow, v["dim"], True), (narrow, v["dim"], True), (v["dim"], wide, True))
        if v["experts"]:
            yield v["experts"], v["dim"], False
        for _ in range(max(v["experts"], 1)):
            yield from ((hidden, v["dim"], True), (v["dim"], hidden, True), (hidden, v["dim"], True))
        if v["arch"] != LLAMA:
            yield from ((1, size, False), (1, size, False))
        yield from ((1, v["dim"], False), (1, v["dim"], False))
    yield from ((1, v["dim"], False), (v["vocab"], v["dim"], True))


def _tensor(random: np.random.Generator, rows: int, columns: int, *, quantized: bool) -> bytes:
    if rows == 1:
        return random.normal(1, 0.1, columns).astype("<f4").tobytes()
    if not quantized:
        return (random.normal(0, 1, (rows, columns)) / np.sqrt(columns)).astype("<f4").tobytes()
    blocks = np.empty(rows * columns // 32, np.dtype([("scale", "<f2"), ("codes", "u1", 16)]))
    blocks["scale"] = random.uniform(0.1, 0.3, blocks.shape) / np.sqrt(columns)
    blocks["codes"] = random.integers(0, 256, (len(blocks), 16), np.uint8)
    return blocks.tobytes()
