"""
The operations on rows of values in plain numpy: what `kernels` computes, said slowly, and what runs where numba is missing.

An operand is a flat array, where its first row begins, and how far it is to the next row: x, x0, xs (in elements; Q80 in
bytes). `columns` are values. What changes from call to call comes last: the positions, the number of rows, the part.

Additions are in the order of distributed-llama's x86 build: "8 lanes" are 8 sums, lane j takes elements j, j + 8, …, added
up at the end as ((l4 + l0) + (l6 + l2)) + ((l5 + l1) + (l7 + l3)); "fused" is a multiplication and addition rounded once.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from synaptic.dllama.quants import Q80, Bytes, Floats, dequantize_q80, quantize_q80

T = TypeVar("T", np.float32, np.uint8)

_0, _1 = np.float32(0), np.float32(1)
_LOG2E = np.float32(1.44269504)
_POLYNOMIAL = [np.float32(p) for p in (0.05550410866482158, 0.2402265069591007, 0.6931471805599453, 1)]
_HIGHEST = np.float32(0.009618129107628477)


def rows_of(x: npt.NDArray[T], x0: int, xs: int, columns: int, rows: int) -> npt.NDArray[T]:
    """A (rows, columns) view; columns are elements here, bytes of Q80."""
    size = x.itemsize
    return np.lib.stride_tricks.as_strided(x[x0:], (rows, columns), (xs * size, size))


def blocks_of(x: Bytes, x0: int, xs: int, columns: int, rows: int) -> npt.NDArray[np.void]:
    """(rows, columns / 32) blocks of Q80."""
    return rows_of(x, x0, xs, columns // 32 * Q80.itemsize, rows).view(Q80)


def fused(a: Floats, b: Floats | np.float32, c: Floats | np.float32) -> Floats:
    """a · b + c; the product of two floats is exact in a double."""
    return (np.multiply(a, b, dtype=np.float64) + c).astype(np.float32)


def summed(lanes: Floats) -> Floats:
    """(…, 8) to (…); of 16 lanes, lane j + 8 is added to lane j first."""
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., half:] + lanes[..., :half]
    return lanes[..., 0]


def dots(a: Floats, b: Floats, lanes: int = 8) -> Floats:
    """(…, n) and (…, n), n a multiple of `lanes`: fused, in 8 or 16 lanes."""
    total = np.zeros((*np.broadcast_shapes(a.shape, b.shape)[:-1], lanes), np.float32)
    for i in range(0, a.shape[-1], lanes):
        total = fused(a[..., i : i + lanes], b[..., i : i + lanes], total)
    return summed(total)


def copy(x: npt.NDArray[T], x0: int, xs: int, y: npt.NDArray[T], y0: int, ys: int, columns: int, rows: int) -> None:
    """Of Q80, columns are bytes."""
    rows_of(y, y0, ys, columns, rows)[:] = rows_of(x, x0, xs, columns, rows)


def quantize(x: Floats, x0: int, xs: int, y: Bytes, y0: int, ys: int, columns: int, rows: int) -> None:
    blocks_of(y, y0, ys, columns, rows)[:] = quantize_q80(np.ascontiguousarray(rows_of(x, x0, xs, columns, rows)))


def dequantize(x: Bytes, x0: int, xs: int, y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    rows_of(y, y0, ys, columns, rows)[:] = dequantize_q80(blocks_of(x, x0, xs, columns, rows))


def add_floats(x: Floats, x0: int, xs: int, y: Floats, y0: int, ys: int, columns: int, slices: int, rows: int) -> None:
    """Rows of x are `slices` times as long as those of y: every slice is added, the first one first."""
    for part in np.split(rows_of(x, x0, xs, columns * slices, rows), slices, -1):
        rows_of(y, y0, ys, columns, rows)[:] += part


def add_quants(x: Bytes, x0: int, xs: int, y: Floats, y0: int, ys: int, columns: int, slices: int, rows: int) -> None:
    """As add_floats, fused with the dequantization."""
    out = rows_of(y, y0, ys, columns, rows)
    for part in np.split(blocks_of(x, x0, xs, columns * slices, rows), slices, -1):
        d = np.repeat(part["d"].astype(np.float32), 32, -1)
        out[:] = fused(part["qs"].reshape(out.shape).astype(np.float32), d, out)


def sum_layers(x: Floats, x0: int, xs: int, layer: int, y: Floats, y0: int, ys: int, layers: int, columns: int, rows: int) -> None:
    """y becomes the sum of the layers of x, which lie `layer` elements apart."""
    out = rows_of(y, y0, ys, columns, rows)
    out[:] = 0
    for z in range(layers):
        out += rows_of(x, x0 + z * layer, xs, columns, rows)


def multiply(x: Floats, x0: int, xs: int, y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    rows_of(y, y0, ys, columns, rows)[:] *= rows_of(x, x0, xs, columns, rows)


def scale(s: Floats, s0: int, ss: int, y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    """Each row by one number."""
    rows_of(y, y0, ys, columns, rows)[:] *= rows_of(s, s0, ss, 1, rows)


def inverse_rms(x: Floats, x0: int, xs: int, y: Floats, y0: int, ys: int, size: int, groups: int, epsilon: float, rows: int) -> None:
    """Of each group of `size` values, a multiple of 8: the squares fused, in 8 lanes."""
    values = rows_of(x, x0, xs, groups * size, rows).reshape(rows, groups, size)
    mean = dots(values, values) / np.float32(size) + np.float32(epsilon)
    rows_of(y, y0, ys, groups, rows)[:] = _1 / np.sqrt(mean)


def rms_norm(
    x: Floats,
    x0: int,
    xs: int,
    inverse: Floats,
    i0: int,
    step: int,
    w: Floats,
    y: Floats,
    y0: int,
    ys: int,
    size: int,
    groups: int,
    rows: int,
) -> None:
    """(x · inverse) · w, groups of `size` values with an inverse each and one w for all."""
    values = rows_of(x, x0, xs, groups * size, rows).reshape(rows, groups, size)
    scaled = values * rows_of(inverse, i0, step, groups, rows)[..., None] * w[:size]
    rows_of(y, y0, ys, groups * size, rows)[:] = scaled.reshape(rows, -1)


def power_of_e(x: Floats) -> tuple[Floats, Floats]:
    """
    p and 2^k, their product nearly exp(x) (to 4e-5), from −88 to 88.

    It is for vectors of 8. The rest of a row, fewer than 8 values, gets exact_power_of_e.
    """
    y = np.clip(x, np.float32(-88), np.float32(88)) * _LOG2E
    k = np.rint(y)
    p = np.full_like(x, _HIGHEST)
    for factor in _POLYNOMIAL:
        p = fused(p, y - k, factor)
    return p, np.ldexp(_1, k.astype(np.int32))


def exact_power_of_e(x: Floats) -> Floats:
    return np.exp(x, dtype=np.float64).astype(np.float32)


def silu(y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    """x / (1 + exp(−x))"""
    out = rows_of(y, y0, ys, columns, rows)
    whole, rest = np.split(out, [columns // 8 * 8], -1)
    p, power = power_of_e(-whole)
    whole /= fused(p, power, _1)
    with np.errstate(over="ignore"):
        rest /= _1 + exact_power_of_e(-rest)


def gelu(y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    """No model has it: not the additions of the original, but the formula."""
    out = rows_of(y, y0, ys, columns, rows)
    x = out.astype(np.float64)
    out[:] = 0.5 * x * (1 + np.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))
