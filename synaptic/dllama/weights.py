"""The weights of one operation, filled with the bytes that a root sends."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from synaptic.dllama.compute import Compute
from synaptic.dllama.graph import FloatType, GraphError, Size3D
from synaptic.dllama.pressure import give_back
from synaptic.dllama.quants import BLOCK, PackedQ40


class Weight(Protocol):
    def store(self, offset: int, data: memoryview | bytes) -> None:
        """Bytes as they are sent, from byte `offset` on. GraphError."""

    def forget(self) -> None:
        """Give the memory back; to be stored anew before it is used."""


class FloatWeight:
    def __init__(self, size: Size3D) -> None:
        self.array = np.zeros(size.length, np.float32)
        self._bytes = self.array.view(np.uint8)

    def store(self, offset: int, data: memoryview | bytes) -> None:
        if offset < 0 or offset + len(data) > len(self._bytes):
            raise GraphError(f"sends bytes {offset} to {offset + len(data)} of a weight of {len(self._bytes)}")
        self._bytes[offset : offset + len(data)] = np.frombuffer(data, np.uint8)

    def forget(self) -> None:
        give_back(self.array)


class Q40Weight:
    """z matrices of x rows × y columns, one after another, repacked as they come in."""

    def __init__(self, size: Size3D, compute: Compute) -> None:
        if size.y % BLOCK:
            raise GraphError(f"rows of {size.y} values are no whole blocks of Q40")
        weights, scales = PackedQ40.sizes(size.x, size.y)
        self.size = size
        self.weights, self.scales = np.zeros(size.z * weights, np.uint8), np.zeros(size.z * scales, np.float32)
        parts = zip(self.weights.reshape(size.z, -1), self.scales.reshape(size.z, -1), strict=True)
        self._matrices = [PackedQ40(size.x, size.y, *part) for part in parts]
        self._pack = compute.matmul.pack

    def store(self, offset: int, data: memoryview | bytes) -> None:
        each, rest = self._matrices[0].n_bytes, memoryview(data).cast("B")
        if offset < 0 or offset + len(rest) > each * len(self._matrices):
            raise GraphError(f"sends bytes {offset} to {offset + len(rest)} of a weight of {each * len(self._matrices)}")
        while rest:
            matrix, start = divmod(offset, each)
            count = min(each - start, len(rest))
            self._matrices[matrix].store(start, rest[:count], self._pack)
            offset, rest = offset + count, rest[count:]

    def forget(self) -> None:
        give_back(self.weights)
        give_back(self.scales)


def float_weight(size: Size3D, z: int, y: int, x: int) -> FloatWeight:
    """GraphError when the graph gives it another size than its operation needs."""
    _expect(size, FloatType.F32, z, y, x)
    return FloatWeight(size)


def q40_weight(size: Size3D, compute: Compute, z: int, y: int, x: int) -> Q40Weight:
    """GraphError when the graph gives it another size than its operation needs."""
    _expect(size, FloatType.Q40, z, y, x)
    return Q40Weight(size, compute)


def _expect(size: Size3D, kind: FloatType, z: int, y: int, x: int) -> None:
    if (size.type, size.z, size.y, size.x) != (kind, z, y, x):
        raise GraphError(f"a weight {size.type.name} of {size.z} x {size.y} x {size.x}, where {kind.name} of {z} x {y} x {x} belongs")
