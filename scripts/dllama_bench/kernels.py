"""The kernels beside NumPy, which multiplies floats. GMAC/s: billions of multiplications with a weight in a second."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scripts.dllama_bench.models import q40
from scripts.dllama_bench.taking import seconds
from synaptic.dllama.matmul_kernels import matmul_token, matmul_tokens, pack, prepare
from synaptic.dllama.quants import Q40, PackedQ40, dequantize_q40, quantize_q80
from synaptic.dllama.simd_q40 import FLAVOUR

ROWS, COLUMNS, MATRICES, BATCH = 3584, 1280, 16, 32  # so many that they are in no cache


def kernels() -> tuple[float, float]:
    """Their speed as a share of NumPy's, for one token and for a batch."""
    random = np.random.default_rng(0)
    blocks = [q40(random, ROWS, COLUMNS) for _ in range(MATRICES)]
    floats = [dequantize_q40(np.frombuffer(each, Q40).reshape(ROWS, -1)) for each in blocks]
    packed = [PackedQ40.empty(ROWS, COLUMNS) for _ in blocks]
    for matrix, data in zip(packed, blocks, strict=True):
        matrix.store(0, data, pack)
    x = random.standard_normal((BATCH, COLUMNS)).astype(np.float32)
    print(f"{FLAVOUR}: {ROWS} x {COLUMNS}, Q40 by Q80, one thread      GMAC/s")
    one, many = (_compared(packed, floats, x[:rows]) for rows in (1, BATCH))
    return one, many


def _compared(packed: list[PackedQ40], floats: list[np.ndarray], x: np.ndarray) -> float:
    rows, out = len(x), np.zeros((len(x), ROWS), np.float32)
    ours = _speed(rows, _multiplication(packed, x, out))
    numpy = _speed(rows, lambda: [np.matmul(x, each.T, out=out) for each in floats])
    print(f"  {rows:2} tokens: kernel {ours:6.1f}   numpy on floats {numpy:6.1f}   ratio {ours / numpy:5.2f}")
    return ours / numpy


def _multiplication(packed: list[PackedQ40], x: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    rows, blocks = len(x), COLUMNS // 32
    quants, y, spare = quantize_q80(x).view(np.uint8).reshape(-1), out.reshape(-1), np.zeros(64, np.float32)
    starts, dx = np.zeros(8 * rows * blocks, np.int32), np.zeros(rows * blocks, np.float32)

    def multiply() -> None:
        for each in packed:
            prepare(quants, 0, 34 * blocks, starts, dx, 0, blocks, rows > 1, rows)
            w = each.weights, each.scales
            if rows == 1:
                matmul_token(*w, quants, 0, starts, dx, 0, blocks, y, 0, ROWS, spare, 0, 0, ROWS // 32)
            else:
                matmul_tokens(*w, quants, 0, 34 * blocks, starts, dx, blocks, y, 0, ROWS, ROWS, spare, rows, 0, ROWS // 32)

    return multiply


def _speed(rows: int, multiply: Callable[[], object]) -> float:
    multiply()
    return rows * MATRICES * ROWS * COLUMNS / min(seconds(multiply) for _ in range(9)) / 1e9
