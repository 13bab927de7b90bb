"""
The operations on rows of values, compiled (numba): the same functions as in `twins`, where each is explained.

Additions in the order of distributed-llama's x86 build, so results are equal bit for bit. Nothing is allocated, the
interpreter's lock is not held, and nothing is checked: whoever calls has checked sizes and positions.
Loading this module takes numba, and the first call ever some seconds to compile; later ones read numba's cache.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from synaptic.dllama.compiled import compiled
from synaptic.dllama.simd import bits_to_float, dot8, float_to_bits, fma

if TYPE_CHECKING:
    from synaptic.dllama.quants import Bytes, Floats

_0, _1, _127 = np.float32(0), np.float32(1), np.float32(127)
_TWO_TO_112 = np.float32(2.0**112)
_LOG2E, _LIMIT = np.float32(1.44269504), np.float32(88)
_P4, _P3, _P2, _P1 = (np.float32(p) for p in (0.009618129107628477, 0.05550410866482158, 0.2402265069591007, 0.6931471805599453))

# Rows are taken as arrays of their own: an index that begins at 0 is never negative, and only then there are vectors.


@compiled
def copy(x: Floats, x0: int, xs: int, y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    for row in range(rows):
        a, b = x[x0 + row * xs :], y[y0 + row * ys :]
        for i in range(columns):
            b[i] = a[i]


@compiled
def quantize(x: Floats, x0: int, xs: int, y: Bytes, y0: int, ys: int, columns: int, rows: int) -> None:
    bits = x.view(np.int32)
    for row in range(rows):
        for block in range(columns // 32):
            first = x0 + row * xs + 32 * block
            a, magnitudes, b = x[first:], bits[first:], y[y0 + row * ys + 34 * block :]
            top = np.int32(0)
            for i in range(32):  # ordered alike as integers, of which vectors have a maximum
                top = max(top, magnitudes[i] & np.int32(0x7FFFFFFF))
            d = bits_to_float(top) / _127
            inverse = _1 / d if d != _0 else _0
            half = _half(d)
            b[0], b[1] = half & np.int32(255), half >> np.int32(8)
            for i in range(32):
                b[2 + i] = np.uint8(np.int32(np.rint(a[i] * inverse)))


@compiled
def dequantize(x: Bytes, x0: int, xs: int, y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    for row in range(rows):
        for block in range(columns // 32):
            a, b = x[x0 + row * xs + 34 * block :], y[y0 + row * ys + 32 * block :]
            d = scale_of(a, 0)
            for i in range(32):
                b[i] = np.float32(np.int8(a[2 + i])) * d


@compiled
def scale_of(x: Bytes, block: int) -> np.float32:
    """The half float that begins there. By hand: old processors cannot, and what numba would call instead is not there."""
    half = np.int32(x[block]) | np.int32(x[block + 1]) << np.int32(8)
    size = (half & np.int32(0x7FFF)) << np.int32(13)
    is_finite = size < np.int32(0x0F800000)  # exponents begin at −14 instead of −126
    value = bits_to_float(size) * _TWO_TO_112 if is_finite else bits_to_float(size | np.int32(0x7F800000))
    return np.float32(-value if half & np.int32(0x8000) else value)


@compiled
def _half(value: np.float32) -> np.int32:
    """The bits of a half float, of a value that is not negative: to nearest, ties to even."""
    bits = float_to_bits(value)
    if bits > np.int32(0x7F800000):
        return np.int32(0x7E00)
    if bits >= np.int32(0x47800000):  # 65536
        return np.int32(0x7C00)
    if bits < np.int32(0x38800000):  # below 2^−14 the sum with 1/2 has the half's 24 places
        return float_to_bits(value + np.float32(0.5)) - np.int32(0x3F000000)  # type: ignore[no-any-return]
    odd = (bits >> np.int32(13)) & np.int32(1)
    return (bits - np.int32(0x38000000) + np.int32(0xFFF) + odd) >> np.int32(13)  # type: ignore[no-any-return]


# ── sums and products ────────────────────────────────────────────────────────────────────────────────────────


@compiled
def add_floats(x: Floats, x0: int, xs: int, y: Floats, y0: int, ys: int, columns: int, slices: int, rows: int) -> None:
    for row in range(rows):
        for part in range(slices):
            a, b = x[x0 + row * xs + part * columns :], y[y0 + row * ys :]
            for i in range(columns):
                b[i] += a[i]


@compiled
def add_quants(x: Bytes, x0: int, xs: int, y: Floats, y0: int, ys: int, columns: int, slices: int, rows: int) -> None:
    blocks = columns // 32
    for row in range(rows):
        for part in range(slices):
            for block in range(blocks):
                a, b = x[x0 + row * xs + 34 * (part * blocks + block) :], y[y0 + row * ys + 32 * block :]
                d = scale_of(a, 0)
                for i in range(32):
                    b[i] = fma(np.float32(np.int8(a[2 + i])), d, b[i])


@compiled
def sum_layers(x: Floats, x0: int, xs: int, layer: int, y: Floats, y0: int, ys: int, layers: int, columns: int, rows: int) -> None:
    for row in range(rows):
        b = y[y0 + row * ys :]
        for i in range(columns):
            b[i] = _0
        for z in range(layers):
            a = x[x0 + z * layer + row * xs :]
            for i in range(columns):
                b[i] += a[i]


@compiled
def multiply(x: Floats, x0: int, xs: int, y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    for row in range(rows):
        a, b = x[x0 + row * xs :], y[y0 + row * ys :]
        for i in range(columns):
            b[i] *= a[i]


@compiled
def scale(s: Floats, s0: int, ss: int, y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    for row in range(rows):
        factor, b = s[s0 + row * ss], y[y0 + row * ys :]
        for i in range(columns):
            b[i] *= factor


# ── norms ────────────────────────────────────────────────────────────────────────────────────────────────────


@compiled
def inverse_rms(x: Floats, x0: int, xs: int, y: Floats, y0: int, ys: int, size: int, groups: int, epsilon: float, rows: int) -> None:
    for row in range(rows):
        for group in range(groups):
            here = x.ctypes.data + 4 * (x0 + row * xs + group * size)
            y[y0 + row * ys + group] = _1 / np.sqrt(dot8(here, here, size) / np.float32(size) + np.float32(epsilon))


@compiled
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
    for row in range(rows):
        for group in range(groups):
            factor = inverse[i0 + row * step + group]
            a, b = x[x0 + row * xs + group * size :], y[y0 + row * ys + group * size :]
            for i in range(size):
                b[i] = (a[i] * factor) * w[i]


# ── activations ──────────────────────────────────────────────────────────────────────────────────────────────


@compiled
def power_of_e(x: np.float32) -> tuple[np.float32, np.float32]:
    y = min(max(x, -_LIMIT), _LIMIT) * _LOG2E
    k = np.rint(y)
    f = y - k
    p = fma(fma(fma(fma(_P4, f, _P3), f, _P2), f, _P1), f, _1)
    return p, bits_to_float(np.int32((np.int32(k) + np.int32(127)) << np.int32(23)))


@compiled
def exact_power_of_e(x: np.float32) -> np.float32:
    return math.exp(x)  # type: ignore[return-value]  # of a float the C library's expf


@compiled
def silu(y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    whole = columns // 8 * 8
    for row in range(rows):
        b = y[y0 + row * ys :]
        for i in range(whole):
            p, power = power_of_e(-b[i])
            b[i] = b[i] / fma(p, power, _1)
        for i in range(whole, columns):
            b[i] = b[i] / (_1 + exact_power_of_e(-b[i]))


@compiled
def gelu(y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    for row in range(rows):
        b = y[y0 + row * ys :]
        for i in range(columns):
            x = np.float64(b[i])
            b[i] = np.float32(0.5 * x * (1 + math.tanh(0.79788456 * x * (1 + 0.044715 * x * x))))
