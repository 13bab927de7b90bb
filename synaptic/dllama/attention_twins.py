"""Positions, attention over the cache of keys and values, and the choice of experts, in plain numpy. See twins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from synaptic.dllama.quants import Floats
from synaptic.dllama.twins import dots, exact_power_of_e, fused, power_of_e, rows_of, summed

Positions = npt.NDArray[np.int64]

_0, _1, _LEAST = np.float32(0), np.float32(1), np.float32(1e-6)


def powers(base: float, exponents: Floats, y: Floats) -> None:
    """In double precision, rounded: nearly always what the C library has for floats. So are the cosines and sines."""
    with np.errstate(all="ignore"):  # a hostile base gives nonsense, not warnings
        y[:] = np.float64(np.float32(base)) ** exponents.astype(np.float64)


def turns(frequencies: Floats, y: Floats, first: int, last: int) -> None:
    """For the positions `first` up to `last` and each frequency the cosine and sine of their product."""
    positions = np.arange(first, last, dtype=np.float32)
    with np.errstate(all="ignore"):
        angles = (positions[:, None] * frequencies).astype(np.float64)
        y.reshape(-1, len(frequencies), 2)[first:last] = np.stack((np.cos(angles), np.sin(angles)), -1)


def rotate_pairs(y: Floats, y0: int, ys: int, table: Floats, heads: int, size: int, positions: Positions, rows: int) -> None:
    """Neighbours turn. `table`: for each position `size` values, a cosine and a sine for each pair."""
    left, right, c, s = _turning(rows_of(y, y0, ys, heads * size, rows), table, size, positions, pairs=True)
    left[:], right[:] = left * c - right * s, left * s + right * c


def rotate_halves(y: Floats, y0: int, ys: int, table: Floats, heads: int, size: int, positions: Positions, rows: int) -> None:
    """A value turns with the one half a head further; fused."""
    left, right, c, s = _turning(rows_of(y, y0, ys, heads * size, rows), table, size, positions, pairs=False)
    left[:], right[:] = fused(left, c, -(right * s)), fused(left, s, right * c)


def _turning(out: Floats, table: Floats, size: int, positions: Positions, *, pairs: bool) -> tuple[Floats, Floats, Floats, Floats]:
    rows = len(out)
    strides = (out.strides[0], size * 4, 8, 4) if pairs else (out.strides[0], size * 4, 4, size * 2)
    values = np.lib.stride_tricks.as_strided(out, (rows, out.shape[1] // size, size // 2, 2), strides)
    angles = table.reshape(-1, size // 2, 2)[positions[:rows], None]
    return values[..., 0], values[..., 1], angles[..., 0], angles[..., 1]


def shift(x: Floats, x0: int, xs: int, cache: Floats, columns: int, positions: Positions, rows: int) -> None:
    """Every row goes to its position."""
    cache.reshape(-1, columns)[positions[:rows]] = rows_of(x, x0, xs, columns, rows)


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
    """
    Heads `first` to `last`, of `size` values, over all positions up to the row's own. `share` heads have one head of keys and
    values, whose rows are `width` long. `scores`: room for each head.

    Scores in 8 lanes, divided by the root of `size`; softmax; the values added one position after another, fused.
    """
    k, v = keys.reshape(-1, width), values.reshape(-1, width)
    for row in range(rows):
        n = int(positions[row]) + 1
        for head in range(first, last):
            kv = slice(head // share * size, (head // share + 1) * size)
            here = scores[head * len(k) : head * len(k) + n]
            at = q0 + row * qs + head * size
            here[:] = dots(k[:n, kv], q[at : at + size]) / np.sqrt(np.float32(size))
            softmax_row(here, 0, n)
            total = np.zeros(size, np.float32)
            for weight, value in zip(here, v[:n, kv], strict=True):
                total = fused(value, weight, total)
            y[y0 + row * ys + head * size :][:size] = total


def softmax(y: Floats, y0: int, ys: int, columns: int, rows: int) -> None:
    for row in range(rows):
        softmax_row(y, y0 + row * ys, columns)


def softmax_row(y: Floats, first: int, n: int) -> None:
    """The sum in 8 lanes, the rest after it one by one; no sum is smaller than 1e-6 but not 0."""
    row = y[first : first + n]
    row -= row.max()
    whole, rest = np.split(row, [n // 8 * 8])
    p, power = power_of_e(whole)
    whole[:] = p * power
    lanes = np.zeros(8, np.float32)
    for eight in whole.reshape(-1, 8):
        lanes += eight
    rest[:] = exact_power_of_e(rest)
    total = summed(lanes)
    for value in rest:
        total = total + value
    row *= _1 / (total if total != _0 else _LEAST)


def choose_experts(
    p: Floats, p0: int, ps: int, y: Floats, y0: int, ys: int, layer: int, indexes: Floats, experts: int, k: int, normal: bool, rows: int
) -> None:
    """
    The k likeliest, of equals the first; their numbers as floats to `indexes`, k for a row; their probabilities to layer 0
    … k − 1 of y, as shares of their sum if `normal`.
    """
    likely = rows_of(p, p0, ps, experts, rows)
    for row in range(rows):
        best = np.argsort(-likely[row], kind="stable")[:k]
        indexes[row * k : row * k + k] = best
        total = _0
        for value in likely[row, best]:
            total = total + value
        for rank, expert in enumerate(best):
            y[y0 + rank * layer + row * ys] = likely[row, expert] / total if normal else likely[row, expert]
