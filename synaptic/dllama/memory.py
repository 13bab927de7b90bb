"""
A node's pipes and buffers, and what an operation sees of them. Sizes are the graph's, and it may be hostile.

Memory is claimed when an operation first uses it: what only takes room in the graph (the cache of angles, the scores of
32 rows) costs nothing.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import numpy as np
import numpy.typing as npt

from synaptic.dllama.graph import Buffer, FloatType, GraphError, NetConfig, NodeConfig, Pipe, Pointer, Size3D, Source, View
from synaptic.dllama.quants import Bytes, Floats

Values = npt.NDArray[np.float32] | npt.NDArray[np.uint8]

MOST_BYTES = 1 << 46
_MOST_VALUES = 1 << 44


@dataclasses.dataclass(frozen=True)
class Operand:
    """
    Rows of one pipe or buffer, `layers` times. `start`, `step` to the next row and `layer` to the next layer count elements
    of the flat array: floats, or bytes of Q80; `width` too, `columns` are values.
    """

    array: Values
    type: FloatType
    columns: int
    start: int
    step: int
    layer: int
    layers: int

    @property
    def width(self) -> int:
        return self.columns if self.type is FloatType.F32 else self.type.bytes_of(self.columns)

    def row(self, layer: int = 0) -> tuple[Values, int, int]:
        """As the kernels want it."""
        return self.array, self.start + layer * self.layer, self.step

    @property
    def floats(self) -> Floats:
        """GraphError when these are no floats."""
        if self.type is not FloatType.F32:
            raise GraphError(f"{self.type.name} where floats belong")
        return cast("Floats", self.array)

    @property
    def bytes(self) -> Bytes:
        """GraphError when these are no blocks of Q80."""
        if self.type is not FloatType.Q80:
            raise GraphError(f"{self.type.name} where Q80 belongs")
        return cast("Bytes", self.array)


class Memory:
    """Pipes at once, buffers when they are used. GraphError, MemoryError."""

    def __init__(self, net: NetConfig, node: NodeConfig) -> None:
        if not 0 < net.n_batches <= 1 << 16 or not 0 <= node.node_index < net.n_nodes:
            raise GraphError(f"node {node.node_index} of {net.n_nodes}, {net.n_batches} rows")
        self._net, self._node = net, node
        self._claimed = 0
        self.pipes = tuple(self._array(pipe) for pipe in net.pipes)
        self._buffers: dict[int, Values] = {}

    @property
    def rows(self) -> int:
        """The most of one pass."""
        return self._net.n_batches

    def operand(self, pointer: Pointer) -> Operand:
        """What a pointer with a row for each token sees."""
        if pointer.view is View.RAW:
            raise GraphError("a whole pipe or buffer where rows belong")
        size, array = self._whole(pointer)
        if size.y != self.rows:
            raise GraphError(f"{size.y} rows where {self.rows} belong")
        parts = self._net.n_nodes if pointer.view is View.BATCHED_SLICE else 1
        if size.x % parts:
            raise GraphError(f"rows of {size.x} values for {parts} nodes")
        columns = size.x // parts
        elements = columns if size.type is FloatType.F32 else size.type.bytes_of(columns)
        start = elements * self._node.node_index if parts > 1 else 0
        return Operand(array, size.type, columns, start, elements * parts, elements * parts * size.y, size.z)

    def buffer(self, index: int) -> Operand:
        """The rows of a buffer that a configuration names."""
        return self.operand(Pointer(Source.BUFFER, index, View.BATCH))

    def matrix(self, pointer: Pointer) -> tuple[Floats, int, int]:
        """A whole one of floats, with its rows and columns."""
        size, array = self._whole(pointer)
        if size.type is not FloatType.F32 or size.z != 1:
            raise GraphError("something other than a matrix of floats")
        return cast("Floats", array), size.y, size.x

    def claim(self, n_bytes: int) -> None:
        self._claimed += n_bytes
        if self._claimed > MOST_BYTES:
            raise GraphError("more memory than any machine has")

    def _whole(self, pointer: Pointer) -> tuple[Size3D, Values]:
        places: tuple[Pipe, ...] | tuple[Buffer, ...] = self._net.pipes if pointer.source is Source.PIPE else self._node.buffers
        if not 0 <= pointer.index < len(places):
            raise GraphError(f"a {pointer.source.name.lower()} {pointer.index}, which there is not")
        place = places[pointer.index]
        if isinstance(place, Pipe):
            return place.size, self.pipes[pointer.index].reshape(-1)
        if pointer.index not in self._buffers:
            self._buffers[pointer.index] = self._array(place).reshape(-1)
        return place.size, self._buffers[pointer.index]

    def _array(self, place: Pipe | Buffer) -> Values:
        """(z, y, x) floats, else (z, y, bytes of a row); zeros, which take memory when they are written to."""
        size = place.size
        if min(size.z, size.y, size.x) < 1 or size.length > _MOST_VALUES or size.type is FloatType.NONE:
            raise GraphError(f"{place.name!r} of {size.z} x {size.y} x {size.x} values")
        self.claim(size.n_bytes)
        if size.type is FloatType.F32:
            return np.zeros((size.z, size.y, size.x), np.float32)
        return np.zeros((size.z, size.y, size.row_bytes), np.uint8)
