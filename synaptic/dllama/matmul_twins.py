"""
Matrices times rows in plain numpy: floats by floats, and Q40 in groups of 32 rows (quants) by Q80. See twins.

`first` to `last` are the outputs to compute, of Q40 the groups of 32. `x0`, `xs`, `layer` of Q80 are bytes. From the
quants of x, `prepare` works out what is the same for all rows of the matrix: their scales `dx`, and `starts`, −8 times
their sums, since weights are stored as 0 … 15 for −8 … 7.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synaptic.dllama.quants import GROUP, Bytes, Floats, PackedQ40
from synaptic.dllama.quants import pack as pack
from synaptic.dllama.twins import blocks_of, dots, fused, rows_of, summed

Starts = npt.NDArray[np.int32]


def matmul_floats(
    w: Floats, x: Floats, x0: int, xs: int, y: Floats, y0: int, ys: int, inputs: int, rows: int, first: int, last: int
) -> None:
    """One row in 8 lanes; more in 16, if `inputs` can be divided by it."""
    values, lanes = rows_of(x, x0, xs, inputs, rows), 16 if rows > 1 and inputs % 16 == 0 else 8
    weights = w.reshape(-1, inputs)[first:last]
    for row in range(rows):
        y[y0 + row * ys + first : y0 + row * ys + last] = dots(weights, values[row], lanes)


def prepare(x: Bytes, x0: int, xs: int, starts: Starts, dx: Floats, at: int, blocks: int, by_lane: bool, rows: int) -> None:
    """For each block of x one start, or by_lane eight, of four values each; from block `at` on."""
    found = blocks_of(x, x0, xs, 32 * blocks, rows)
    dx[at : at + rows * blocks] = found["d"].reshape(-1)
    sums = found["qs"].reshape(rows * blocks, 8, 4).sum(-1, dtype=np.int32) * np.int32(-8)
    if by_lane:
        starts[8 * at :][: sums.size] = sums.reshape(-1)
    else:
        starts[at : at + len(sums)] = sums.sum(-1)


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
    """
    One row of x, whose starts (one a block) and scales begin at block `at`. Block after block, fused.

    `expert`: the matrices lie one after another. `spare`: 64 floats, which the last group may need.
    """
    found = blocks_of(x, x0, 0, 32 * blocks, 1)[0]
    for group in range(first, last):
        sums, factors = _products(w, scales, found["qs"], blocks, outputs, expert, group)
        total = np.zeros(len(sums), np.float32)
        for block in range(blocks):
            total = fused(sums[:, block].sum(-1), factors[:, block] * dx[at + block], total)
        y[y0 + GROUP * group :][: len(total)] = total


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
    """Several rows of x, prepared by_lane: four products are a lane, fused block after block, 8 lanes."""
    found = blocks_of(x, x0, xs, 32 * blocks, rows)["qs"]
    for group in range(first, last):
        for row in range(rows):
            sums, factors = _products(w, scales, found[row], blocks, outputs, 0, group)
            lanes = np.zeros((len(sums), 8), np.float32)
            for block in range(blocks):
                lanes = fused(sums[:, block], (factors[:, block] * dx[row * blocks + block])[:, None], lanes)
            y[y0 + row * ys + GROUP * group :][: len(sums)] = summed(lanes)


def _products(
    w: Bytes, scales: Floats, quants: npt.NDArray[np.int8], blocks: int, outputs: int, expert: int, group: int
) -> tuple[Floats, Floats]:
    """Of a group (32, blocks, 8) sums of four products each, which are whole numbers, and its (32, blocks) scales."""
    matrix = PackedQ40(outputs, 32 * blocks, w, scales)
    values, factors = matrix.unpacked(expert * -(-outputs // GROUP) + group)
    rows = min(GROUP, outputs - GROUP * group)
    products = values[:rows].astype(np.int32) * quants
    return products.reshape(rows, blocks, 8, 4).sum(-1).astype(np.float32), factors[:rows]


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
    """For each row and each of its k experts, as matmul_token. A number that is no expert is taken for the first."""
    for row in range(rows):
        for rank, named in enumerate(indexes[row * k : row * k + k]):
            expert = int(named) if 0 <= named < experts else 0
            at, here = (rank * rows + row) * blocks, x0 + rank * layer + row * xs
            out = y0 + rank * y_layer + row * ys
            matmul_token(w, scales, x, here, starts, dx, at, blocks, y, out, outputs, spare, expert, first, last)
