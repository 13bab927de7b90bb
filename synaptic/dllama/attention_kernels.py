"""
Positions, attention over the cache of keys and values, and the choice of experts, compiled. See kernels and attention_twins.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from synaptic.dllama.compiled import compiled
from synaptic.dllama.kernels import exact_power_of_e, power_of_e
from synaptic.dllama.simd import dots, fma, sum8, weigh

if TYPE_CHECKING:
    from synaptic.dllama.attention_twins import Positions
    from synaptic.dllama.quants import Floats

_0, _1, _LEAST = np.float32(0), np.float32(1), np.float32(1e-6)


@compiled
def powers(base: float, exponents: Floats, y: Floats) -> None:
    for i in range(len(exponents)):
        y[i] = math.pow(np.float32(base), exponents[i])  # the C library's, for floats; so are cosine and sine


@compiled
def turns(frequencies: Floats, y: Floats, first: int, last: int) -> None:
    for position in range(first, last):
        for i in range(len(frequencies)):
            angle, b = np.float32(position) * frequencies[i], 2 * (position * len(frequencies) + i)
            y[b], y[b + 1] = math.cos(angle), math.sin(angle)


@compiled
def rotate_pairs(y: Floats, y0: int, ys: int, table: Floats, heads: int, size: int, positions: Positions, rows: int) -> None:
    for row in range(rows):
        angles = table[int(positions[row]) * size :]
        for head in range(heads):
            b = y[y0 + row * ys + head * size :]
            for i in range(size // 2):
                c, s, left, right = angles[2 * i], angles[2 * i + 1], b[2 * i], b[2 * i + 1]
                b[2 * i], b[2 * i + 1] = left * c - right * s, left * s + right * c


@compiled
def rotate_halves(y: Floats, y0: int, ys: int, table: Floats, heads: int, size: int, positions: Positions, rows: int) -> None:
    half = size // 2
    for row in range(rows):
        angles = table[int(positions[row]) * size :]
        for head in range(heads):
            b = y[y0 + row * ys + head * size :]
            for i in range(half):
                c, s, left, right = angles[2 * i], angles[2 * i + 1], b[i], b[half + i]
                b[i], b[half + i] = fma(left, c, -(right * s)), fma(left, s, right * c)


@compiled
def shift(x: Floats, x0: int, xs: int, cache: Floats, columns: int, positions: Positions, rows: int) -> None:
    for row in range(rows):
        a, b = x[x0 + row * xs :], cache[int(positions[row]) * columns :]
        for i in range(columns):
            b[i] = a[i]


@compiled
def attend(
    q: Floats,
    q0: int,
    qs: int,
    keys: Floats,
    values: Floats,
    y: Floats,
    y0: int,
    ys: int,
    scores: Floats,
    size: int,
    share: int,
    width: int,
    positions: Positions,
    rows: int,
    first: int,
    last: int,
) -> None:
    root, length = np.sqrt(np.float32(size)), len(keys) // width
    for row in range(rows):
        n = int(positions[row]) + 1
        for head in range(first, last):
            query, kv, s = q.ctypes.data + 4 * (q0 + row * qs + head * size), head // share * size, head * length
            dots(query, keys.ctypes.data + 4 * kv, 4 * width, n, scores.ctypes.data + 4 * s, size)
            own = scores[s:]
            for t in range(n):
                own[t] /= root
            softmax_row(scores, s, n)
            out = y.ctypes.data + 4 * (y0 + row * ys + head * size)
            weigh(scores.ctypes.data + 4 * s, values.ctypes.data + 4 * kv, 4 * width, n, out, size)


@compiled
def softmax(y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    for row in range(rows):
        softmax_row(y, y0 + row * ys, columns)


@compiled
def softmax_row(y: Floats, first: int, n: int) -> None:
    b, whole, top = y[first:], n // 8 * 8, y[first]
    for i in range(n):
        top = max(top, b[i])
    for i in range(whole):
        p, power = power_of_e(b[i] - top)
        b[i] = p * power
    total = sum8(b.ctypes.data, whole)
    for i in range(whole, n):
        b[i] = exact_power_of_e(b[i] - top)
        total += b[i]
    factor = _1 / (total if total != _0 else _LEAST)
    for i in range(n):
        b[i] *= factor


@compiled
def choose_experts(
    p: Floats, p0: int, ps: int, y: Floats, y0: int, ys: int, layer: int, indexes: Floats, experts: int, k: int, normal: bool, rows: int
) -> None:
    for row in range(rows):
        likely, total, last = p[p0 + row * ps :], _0, -1
        for rank in range(k):
            best = -1
            for expert in range(experts):  # of those that come after the last one, the first
                is_next = last < 0 or likely[expert] < likely[last] or (likely[expert] == likely[last] and expert > last)
                if is_next and (best < 0 or likely[expert] > likely[best]):
                    best = expert
            last = max(best, 0)  # what is no number is never next
            indexes[row * k + rank] = np.float32(last)
            y[y0 + rank * layer + row * ys] = likely[last]
            total += likely[last]
        for rank in range(k):
            if normal:
                y[y0 + rank * layer + row * ys] /= total
