"""
Blocks of 32 values: Q40 (weights) and Q80 (activations), rounded as distributed-llama's x86 build and its converter do.

    Q40: half d · 16 bytes, byte j holds value j low and value j + 16 high, each (nibble − 8) · d
    Q80: half d · 32 signed bytes, each q · d

For the kernels a Q40 matrix lies in groups of 32 rows: for each block four runs of 32 words, a word being four of the
16 bytes of one row; and the scales as floats. 20 bytes for 32 values instead of 18.

    weights [group][block][4][32 rows][4 bytes]     scales [group][block][32 rows]
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
import numpy.typing as npt

from synaptic.dllama.graph import GraphError

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Blocks = npt.NDArray[np.void]

BLOCK = 32
GROUP = 32  # rows, interleaved
Q40 = np.dtype([("d", "<f2"), ("qs", "u1", (16,))])
Q80 = np.dtype([("d", "<f2"), ("qs", "i1", (32,))])

_ONE, _EIGHT, _HALF_UP, _127 = (np.float32(value) for value in (1, -8, 8.5, 127))


def quantize_q80(values: Floats) -> Blocks:
    """(…, columns) to (…, columns / 32) blocks. Quants come from the scale before it is rounded to half; ties to even."""
    x = values.reshape(*values.shape[:-1], -1, BLOCK)
    with np.errstate(over="ignore", invalid="ignore"):  # a scale too big for half is infinite, there as here
        d = np.abs(x).max(-1) / _127
        blocks = np.empty(d.shape, Q80)
        blocks["d"] = d
        blocks["qs"] = np.rint(x * _inverse(d)[..., None])
    return blocks


def dequantize_q80(blocks: Blocks) -> Floats:
    values = blocks["qs"].astype(np.float32) * blocks["d"].astype(np.float32)[..., None]
    return values.reshape(*blocks.shape[:-1], -1)


def quantize_q40(values: Floats) -> Blocks:
    """As the converter: the value of largest magnitude becomes −8, of two equally large ones the positive."""
    x = values.reshape(*values.shape[:-1], -1, BLOCK)
    high, low = x.max(-1), x.min(-1)
    d = np.where(-low > high, low, high) / _EIGHT
    q = np.clip(x * _inverse(d)[..., None] + _HALF_UP, 0, 15).astype(np.uint8)
    blocks = np.empty(d.shape, Q40)
    blocks["d"] = d
    blocks["qs"] = q[..., :16] | q[..., 16:] << 4
    return blocks


def dequantize_q40(blocks: Blocks) -> Floats:
    values = nibbles(blocks["qs"]).astype(np.float32) * blocks["d"].astype(np.float32)[..., None]
    return values.reshape(*blocks.shape[:-1], -1)


def nibbles(packed: Bytes) -> npt.NDArray[np.int8]:
    """(…, 16) bytes to (…, 32) values from −8 to 7."""
    return np.concatenate((packed & 15, packed >> 4), -1).view(np.int8) - np.int8(8)


def _inverse(d: Floats) -> Floats:
    return np.divide(_ONE, d, out=np.zeros_like(d), where=d != 0)


class Pack(Protocol):
    def __call__(self, data: Bytes, weights: Bytes, scales: Floats, group: int, blocks: int, rows: int) -> None: ...


def pack(data: Bytes, weights: Bytes, scales: Floats, group: int, blocks: int, rows: int) -> None:
    """`rows` of Q40, each of `blocks`, become groups, of which the first is `group`."""
    words, factors = weights.view(np.uint32).reshape(-1, blocks, 4, GROUP), scales.reshape(-1, blocks, GROUP)
    found = data.view(Q40).reshape(rows, blocks)
    for first in range(0, rows, GROUP):
        here = found[first : first + GROUP]
        there = group + first // GROUP, ..., slice(len(here))
        words[there] = np.ascontiguousarray(here["qs"]).view(np.uint32).transpose(1, 2, 0)
        factors[there] = here["d"].T


@dataclasses.dataclass(frozen=True)
class PackedQ40:
    """A matrix of rows × columns as the kernels read it; zeros until stored."""

    rows: int
    columns: int
    weights: Bytes
    scales: Floats

    @staticmethod
    def sizes(rows: int, columns: int) -> tuple[int, int]:
        """The bytes of weights, and the number of scales."""
        groups = -(-rows // GROUP)
        return groups * GROUP * columns // 2, groups * GROUP * columns // BLOCK

    @classmethod
    def empty(cls, rows: int, columns: int) -> PackedQ40:
        weights, scales = cls.sizes(rows, columns)
        return cls(rows, columns, np.zeros(weights, np.uint8), np.zeros(scales, np.float32))

    @property
    def row_bytes(self) -> int:
        return self.columns // BLOCK * Q40.itemsize

    @property
    def n_bytes(self) -> int:
        """Of the matrix as it is sent."""
        return self.rows * self.row_bytes

    def store(self, offset: int, data: memoryview | bytes, pack: Pack = pack) -> None:
        """Whole groups of rows from byte `offset` of the matrix on; at its end the last group may be smaller. GraphError."""
        group, rest = divmod(offset, GROUP * self.row_bytes)
        end = offset + len(data)
        if offset < 0 or end > self.n_bytes:
            raise GraphError(f"sends bytes {offset} to {end} of a matrix of {self.n_bytes}")
        if rest or (end % (GROUP * self.row_bytes) and end < self.n_bytes):
            raise GraphError("sends part of a matrix that is no whole groups of 32 rows")
        pack(np.frombuffer(data, np.uint8), self.weights, self.scales, group, self.columns // BLOCK, len(data) // self.row_bytes)

    def unpacked(self, group: int) -> tuple[npt.NDArray[np.int8], Floats]:
        """(32 rows, blocks, 32) values from −8 to 7, and their (32, blocks) scales."""
        width = self.columns // BLOCK
        words = self.weights.view(np.uint32).reshape(-1, width, 4, GROUP)[group].transpose(2, 0, 1)
        return nibbles(np.ascontiguousarray(words).view(np.uint8)), self.scales.reshape(-1, width, GROUP)[group].T
