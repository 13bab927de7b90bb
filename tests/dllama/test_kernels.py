"""Every compiled operation gives what its numpy twin gives, bit for bit; and the twins are right, by plain loops of doubles."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from synaptic.dllama import attention_kernels, attention_twins, kernels, matmul_kernels, matmul_twins, twins
from synaptic.dllama.quants import PackedQ40, dequantize_q40, dequantize_q80, quantize_q40, quantize_q80

PAIRS = (twins, kernels), (attention_twins, attention_kernels), (matmul_twins, matmul_kernels)
ROOM = 1600


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape or ROOM).astype(np.float32)


def q80(rows: int, columns: int, seed: int = 1) -> np.ndarray:
    return quantize_q80(floats(rows, columns, seed=seed)).view(np.uint8).reshape(-1)


def q40(rows: int, columns: int, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    packed = [PackedQ40.empty(rows, columns) for _ in range(count)]
    for seed, matrix in enumerate(packed):
        matrix.store(0, quantize_q40(floats(rows, columns, seed=seed)).tobytes())
    return np.concatenate([each.weights for each in packed]), np.concatenate([each.scales for each in packed])


def starts(x: np.ndarray, rows: int, blocks: int, *, by_lane: bool) -> tuple[np.ndarray, np.ndarray]:
    found = np.zeros(8 * rows * blocks, np.int32), np.zeros(rows * blocks, np.float32)
    matmul_twins.prepare(x, 0, 34 * blocks, *found, 0, blocks, by_lane, rows)
    return found


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    arguments: Callable[[], tuple[object, ...]]
    changed: tuple[int, ...]  # arguments


TABLE, POSITIONS = floats(100 * 64, seed=4), np.array([0, 5, 99, 63])


def token(outputs: int, blocks: int) -> tuple[object, ...]:
    x = q80(1, 32 * blocks)
    sizes = (0, blocks, floats(100), 3, outputs, floats(64), 0, 0, -(-outputs // 32))
    return (*q40(outputs, 32 * blocks), x, 0, *starts(x, 1, blocks, by_lane=False), *sizes)


def tokens(outputs: int, blocks: int, rows: int) -> tuple[object, ...]:
    x = q80(rows, 32 * blocks)
    prepared = starts(x, rows, blocks, by_lane=True)
    sizes = (outputs, floats(64), rows, 0, -(-outputs // 32))
    return (*q40(outputs, 32 * blocks), x, 0, 34 * blocks, *prepared, blocks, floats(rows * 110), 3, 110, *sizes)


def experts() -> tuple[object, ...]:
    """Of three, two for each of four rows; some named wrongly."""
    x, blocks, layer = q80(2 * 4, 96), 3, 4 * 34 * 3
    prepared = starts(x, 8, blocks, by_lane=False)
    named = np.array([0, 1, 2, 1, 9, 0, np.nan, -1], np.float32)
    return (*q40(40, 96, 3), x, 0, 34 * 3, layer, *prepared, blocks, floats(400), 0, 40, 160, 40, floats(64), named, 3, 2, 4, 0, 2)


def attention(size: int) -> tuple[object, ...]:
    """Eight heads, of which two share keys; rows at four positions."""
    caches = floats(100 * 4 * size, seed=2), floats(100 * 4 * size, seed=3)
    out = floats(4 * 8 * size)
    return (floats(4 * 8 * size, seed=5), 0, 8 * size, *caches, out, 0, 8 * size, floats(800), size, 2, 4 * size, POSITIONS, 4, 0, 8)


CASES = [
    Case("copy", lambda: (floats(), 3, 300, floats(seed=1), 7, 280, 256, 4), (3,)),
    Case("quantize", lambda: (floats(), 3, 300, q80(5, 320), 34, 340, 256, 4), (3,)),
    Case("dequantize", lambda: (q80(5, 320), 34, 340, floats(), 7, 280, 256, 4), (3,)),
    Case("add_floats", lambda: (floats(), 3, 300, floats(seed=1), 7, 280, 64, 4, 4), (3,)),
    Case("add_quants", lambda: (q80(5, 320), 34, 340, floats(), 7, 280, 64, 4, 4), (3,)),
    Case("sum_layers", lambda: (floats(), 0, 64, 320, floats(seed=1), 7, 280, 4, 64, 4), (4,)),
    Case("multiply", lambda: (floats(), 3, 300, floats(seed=1), 7, 280, 256, 4), (3,)),
    Case("scale", lambda: (floats(), 3, 1, floats(seed=1), 7, 280, 256, 4), (3,)),
    Case("inverse_rms", lambda: (floats(), 3, 300, floats(seed=1), 7, 280, 64, 4, 1e-5, 4), (3,)),
    Case("rms_norm", lambda: (floats(), 3, 300, floats(seed=1), 1, 4, floats(64), floats(seed=2), 7, 280, 64, 4, 4), (7,)),
    Case("silu", lambda: (floats() * 30, 7, 280, 253, 4), (0,)),
    Case("gelu", lambda: (floats(), 7, 280, 253, 4), (0,)),
    Case("softmax", lambda: (floats() * 9, 7, 280, 253, 4), (0,)),
    Case("rotate_pairs", lambda: (floats(), 7, 280, TABLE, 4, 64, POSITIONS, 4), (0,)),
    Case("rotate_halves", lambda: (floats(), 7, 280, TABLE, 4, 64, POSITIONS, 4), (0,)),
    Case("shift", lambda: (floats(), 7, 280, floats(100 * 256), 256, POSITIONS, 4), (3,)),
    *(Case("attend", lambda size=size: attention(size), (5,)) for size in (8, 24, 64, 128)),
    Case("choose_experts", lambda: (abs(floats()).round(1), 3, 20, floats(40), 0, 1, 5, floats(16), 16, 4, True, 4), (3, 7)),
    Case("choose_experts", lambda: (abs(floats()), 3, 20, floats(40), 0, 1, 5, floats(16), 16, 4, False, 4), (3, 7)),
    *(Case("matmul_floats", lambda rows=rows, n=n: (floats(70 * n), floats(5 * n), 0, n, floats(400), 3, 80, n, rows, 1, 69), (4,))
      for rows, n in ((1, 64), (4, 64), (4, 24))),
    *(Case("prepare", lambda lane=lane: (q80(4, 96), 0, 102, np.zeros(99, np.int32), floats(16), 0, 3, lane, 4), (3, 4))
      for lane in (True, False)),
    *(Case("matmul_token", lambda n=n, blocks=blocks: token(n, blocks), (8,)) for n, blocks in ((32, 1), (70, 10), (96, 3))),
    *(Case("matmul_tokens", lambda n=n, rows=rows: tokens(n, 10, rows), (8,)) for n, rows in ((70, 5), (96, 2), (33, 3))),
    Case("matmul_experts", experts, (9,)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_kernel_is_its_twin(case: Case) -> None:
    plain, fast = next(pair for pair in PAIRS if hasattr(pair[0], case.name))
    first, second, untouched = case.arguments(), case.arguments(), case.arguments()
    getattr(plain, case.name)(*first)
    getattr(fast, case.name)(*second)
    for index, (a, b, before) in enumerate(zip(first, second, untouched, strict=True)):
        if isinstance(a, np.ndarray) and case.name not in ("attend", "matmul_tokens", "matmul_token", "matmul_experts"):
            assert a.tobytes() == np.asarray(b).tobytes(), index  # also that nothing else was written to
        if index in case.changed:
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), index
            assert np.asarray(a).tobytes() != np.asarray(before).tobytes(), index


def test_angles_are_the_c_librarys() -> None:
    """Numpy's may be off by one place, rarely; positions are far from each other."""
    frequencies = (1 / 10_000 ** (np.arange(0, 1, 1 / 32))).astype(np.float32)
    table, twin = np.zeros(64 * 300, np.float32), np.zeros(64 * 300, np.float32)
    attention_kernels.turns(frequencies, table, 0, 300)
    attention_twins.turns(frequencies, twin, 0, 120)
    attention_twins.turns(frequencies, twin, 120, 300)
    assert abs(table - twin).max() <= 1.2e-7
    assert np.mean(table == twin) > 0.9


# ── plain loops ──────────────────────────────────────────────────────────────────────────────────────────────


def test_attention_by_loops() -> None:
    arguments = attention(24)
    query, keys, values = (np.asarray(arguments[k], np.float64) for k in (0, 3, 4))
    attention_kernels.attend(*arguments)
    out = np.asarray(arguments[5]).reshape(4, 8, 24)
    for row, position in enumerate(POSITIONS):
        for head in range(8):
            q, shared = query.reshape(4, 8, 24)[row, head], head // 2
            k, v = (cache.reshape(100, 4, 24)[: position + 1, shared] for cache in (keys, values))
            likely = [math.exp(sum(q * each) / math.sqrt(24)) for each in k]
            expected = sum(weight * each for weight, each in zip(likely, v, strict=True)) / sum(likely)
            assert np.allclose(out[row, head], expected, atol=2e-4)  # its exponential is off by up to 4e-5


@pytest.mark.parametrize("rows", [1, 5])
def test_q40_by_q80_by_loops(rows: int) -> None:
    x, w = quantize_q80(floats(rows, 320, seed=1)), quantize_q40(floats(70, 320, seed=0))
    expected = dequantize_q80(x).astype(np.float64) @ dequantize_q40(w).astype(np.float64).T
    arguments = token(70, 10) if rows == 1 else tokens(70, 10, rows)
    (matmul_kernels.matmul_token if rows == 1 else matmul_kernels.matmul_tokens)(*arguments)
    out = np.asarray(arguments[8])[3:]
    for row in range(rows):
        assert np.allclose(out[row * 110 :][:70], expected[row], atol=1e-4)


def test_norm_silu_and_softmax_by_loops() -> None:
    x = floats(64).astype(np.float64)
    inverse, out, weight = np.zeros(1, np.float32), floats(64), floats(64, seed=1)
    kernels.inverse_rms(floats(64), 0, 64, inverse, 0, 1, 64, 1, 1e-5, 1)
    kernels.rms_norm(floats(64), 0, 64, inverse, 0, 1, weight, out, 0, 64, 64, 1, 1)
    assert np.allclose(out, x / math.sqrt(sum(x * x) / 64 + 1e-5) * weight, atol=1e-6)
    active, likely = floats(64), floats(64)
    kernels.silu(active, 0, 64, 64, 1)
    attention_kernels.softmax(likely, 0, 64, 61, 1)
    assert np.allclose(active, [each / (1 + math.exp(-each)) for each in x], atol=1e-4)
    powers = np.array([math.exp(each) for each in x[:61]])
    assert np.allclose(likely[:61], powers / sum(powers), atol=1e-5)


def test_turning_by_loops() -> None:
    for turn, distance, step in ((attention_kernels.rotate_pairs, 1, 2), (attention_kernels.rotate_halves, 4, 1)):
        y, before = floats(8), floats(8)
        table = np.zeros(3 * 8, np.float32)
        attention_kernels.turns(np.array([1, 0.5, 0.25, 0.125], np.float32), table, 0, 3)
        turn(y, 0, 8, table, 1, 8, np.array([2]), 1)
        for i, frequency in enumerate((1, 0.5, 0.25, 0.125)):
            number = complex(before[i * step], before[i * step + distance]) * complex(math.cos(2 * frequency), math.sin(2 * frequency))
            assert np.allclose([y[i * step], y[i * step + distance]], [number.real, number.imag], atol=1e-6)


def test_halves_are_read_and_written_by_hand() -> None:
    """All of them; and floats between them, ties, and too large ones."""
    every = np.arange(0x7C00, dtype=np.uint16)
    x = np.zeros((len(every), 34), np.uint8)
    x[:, :2], x[:, 2] = every.view(np.uint8).reshape(-1, 2), 1
    y = np.zeros((len(every), 32), np.float32)
    kernels.dequantize(x.reshape(-1), 0, 34, y.reshape(-1), 0, 32, 32, len(every))
    assert (y[:, 0] == every.view(np.float16)).all()
    between = (np.arange(0x3FA00, dtype=np.int64) << 13).astype(np.uint32)
    for extra in (0, 0xFFF, 0x1000, 0x1001):
        values = np.zeros((len(between), 32), np.float32)
        values[:, 7] = (between + np.uint32(extra)).view(np.float32)
        blocks = np.zeros((len(between), 34), np.uint8)
        kernels.quantize(values.reshape(-1), 0, 32, blocks.reshape(-1), 0, 34, 32, len(between))
        with np.errstate(over="ignore"):
            expected = (values[:, 7] / np.float32(127)).astype(np.float16)
        assert (np.ascontiguousarray(blocks[:, :2]).view(np.float16)[:, 0] == expected).all()
