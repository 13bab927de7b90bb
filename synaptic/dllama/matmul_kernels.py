"""
Matrices times rows, compiled: floats by floats, and Q40 in groups of 32 rows (quants) by Q80. See matmul_twins.

One token and many differ in the order of additions, as they do in distributed-llama's x86 build.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synaptic.dllama.compiled import compiled
from synaptic.dllama.kernels import scale_of
from synaptic.dllama.simd import dot8, dot16
from synaptic.dllama.simd_q40 import q40_token, q40_tokens1, q40_tokens2

if TYPE_CHECKING:
    from synaptic.dllama.matmul_twins import Starts
    from synaptic.dllama.quants import Bytes, Floats


@compiled
def matmul_floats(
    w: Floats, x: Floats, x0: int, xs: int, y: Floats, y0: int, ys: int, inputs: int, rows: int, first: int, last: int
) -> None:
    wide = rows > 1 and inputs % 16 == 0
    for output in range(first, last):
        weights = w.ctypes.data + 4 * output * inputs
        for row in range(rows):
            values = x.ctypes.data + 4 * (x0 + row * xs)
            y[y0 + row * ys + output] = dot16(weights, values, inputs) if wide else dot8(weights, values, inputs)


@compiled
def prepare(x: Bytes, x0: int, xs: int, starts: Starts, dx: Floats, at: int, blocks: int, by_lane: bool, rows: int) -> None:
    for row in range(rows):
        for block in range(blocks):
            a, b = x[x0 + row * xs + 34 * block :], at + row * blocks + block
            dx[b] = scale_of(a, 0)
            own, total = starts[8 * b if by_lane else b :], np.int32(0)
            for lane in range(8):
                four = np.int32(0)
                for i in range(4):
                    four -= np.int32(8) * np.int32(np.int8(a[2 + 4 * lane + i]))
                total += four
                if by_lane:
                    own[lane] = four
            if not by_lane:
                own[0] = total


@compiled
def matmul_token(
    w: Bytes,
    scales: Floats,
    x: Bytes,
    x0: int,
    starts: Starts,
    dx: Floats,
    at: int,
    blocks: int,
    y: Floats,
    y0: int,
    outputs: int,
    spare: Floats,
    expert: int,
    first: int,
    last: int,
) -> None:
    groups = (outputs + 31) // 32
    for group in range(first, last):
        whole = 32 * group + 32 <= outputs
        out = y.ctypes.data + 4 * (y0 + 32 * group) if whole else spare.ctypes.data
        here = (expert * groups + group) * blocks
        q40_token(
            w.ctypes.data + 512 * here,
            scales.ctypes.data + 128 * here,
            x.ctypes.data + x0,
            0,
            starts.ctypes.data + 4 * at,
            dx.ctypes.data + 4 * at,
            blocks,
            out,
            0,
        )
        if not whole:
            for i in range(32 * group, outputs):
                y[y0 + i] = spare[i - 32 * group]


@compiled
def matmul_tokens(
    w: Bytes,
    scales: Floats,
    x: Bytes,
    x0: int,
    xs: int,
    starts: Starts,
    dx: Floats,
    blocks: int,
    y: Floats,
    y0: int,
    ys: int,
    outputs: int,
    spare: Floats,
    rows: int,
    first: int,
    last: int,
) -> None:
    for group in range(first, last):
        weights, factors = w.ctypes.data + 512 * group * blocks, scales.ctypes.data + 128 * group * blocks
        whole = 32 * group + 32 <= outputs
        step = 4 * ys if whole else 128
        for row in range(0, rows, 2):
            here, start = x.ctypes.data + x0 + row * xs, starts.ctypes.data + 32 * row * blocks
            d, out = dx.ctypes.data + 4 * row * blocks, y.ctypes.data + 4 * (y0 + row * ys + 32 * group) if whole else spare.ctypes.data
            if row + 1 < rows:
                q40_tokens2(weights, factors, here, xs, start, d, blocks, out, step)
            else:
                q40_tokens1(weights, factors, here, xs, start, d, blocks, out, step)
            for j in range(row, min(row + 2, rows) if not whole else row):
                for i in range(32 * group, outputs):
                    y[y0 + j * ys + i] = spare[32 * (j - row) + i - 32 * group]


@compiled
def matmul_experts(
    w: Bytes,
    scales: Floats,
    x: Bytes,
    x0: int,
    xs: int,
    layer: int,
    starts: Starts,
    dx: Floats,
    blocks: int,
    y: Floats,
    y0: int,
    ys: int,
    y_layer: int,
    outputs: int,
    spare: Floats,
    indexes: Floats,
    experts: int,
    k: int,
    rows: int,
    first: int,
    last: int,
) -> None:
    for row in range(rows):
        for rank in range(k):
            named = indexes[row * k + rank]
            expert = int(named) if np.float32(0) <= named < np.float32(experts) else 0
            here, at, out = x0 + rank * layer + row * xs, (rank * rows + row) * blocks, y0 + rank * y_layer + row * ys
            matmul_token(w, scales, x, here, starts, dx, at, blocks, y, out, outputs, spare, expert, first, last)


@compiled
def pack(data: Bytes, weights: Bytes, scales: Floats, group: int, blocks: int, rows: int) -> None:
    for row in range(rows):
        for block in range(blocks):
            a, to = data[(row * blocks + block) * 18 :], (group + row // 32) * blocks + block
            scales[32 * to + row % 32] = scale_of(a, 0)
            b = weights[512 * to + 4 * (row % 32) :]
            for k in range(4):
                for i in range(4):
                    b[128 * k + i] = a[2 + 4 * k + i]
