"""
The weights of a session: those that the root sends, and those that it leaves to a model file beside the worker.

The original's root sends all of them. One that sends only some must have the same model: what it sends is compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from synaptic.dllama import wire
from synaptic.dllama.graph import GraphError, NetConfig, NodeConfig, Size3D, WeightMessage
from synaptic.dllama.layout import OF_EXPERTS, Cut, Tensor, slice_of

if TYPE_CHECKING:
    from synaptic.dllama.executor import Executor
    from synaptic.dllama.link import Link
    from synaptic.dllama.model_file import ModelFile

PIECE = 1 << 20  # bytes of a weight that are handed on at once
ROWS = 32  # of a matrix: the least that is handed on

Place = tuple[str, int, int]  # an operation's name and index, and the first byte in its weight


@dataclasses.dataclass(frozen=True)
class _Share:
    """What a node gets of a tensor."""

    tensor: Tensor
    node: int
    nodes: int


class Loading:
    def __init__(self, net: NetConfig, node: NodeConfig, executor: Executor, own: ModelFile | None) -> None:
        self._executor = executor
        self._own = own
        self._sizes = {(op.name, op.index): op.weight for segment in reversed(node.segments) for op in reversed(segment.ops)}
        self._left: dict[Place, _Share] = dict(_shares(own, self._sizes, net, node)) if own else {}
        is_a_model = own is not None and any((each.name, each.index) in self._sizes for each in own.tensors)
        self.differs = is_a_model and not self._left  # what was sent, from the file
        self._compared = 0  # bytes

    @property
    def is_whole(self) -> bool:
        """Whether every weight of the graph is in the file."""
        parts = (slice_of(share.tensor, share.node, share.nodes) for share in self._left.values())
        return sum(part.bytes for part in parts if part) == self.wanted

    @property
    def wanted(self) -> int:
        """Bytes of all weights of the graph."""
        return sum(size.n_bytes for size in self._sizes.values())

    @property
    def is_same(self) -> bool:
        """Whether every weight was sent, and is in the file too."""
        return not self.differs and self._compared == self.wanted

    def receive(self, root: Link, patience: float) -> None:
        """Until the root has no more. LostError, WireError, GraphError."""
        while head := root.read(wire.weight_head(), patience):
            size = self._sizes.get((head.name, head.index))
            if size is None or head.offset + head.size > size.n_bytes:
                raise GraphError(f"{head.size} bytes at {head.offset} of {head.name!r} {head.index}, where they have no place")
            ours = self._ours(self._left.pop((head.name, head.index, head.offset), None))
            self._compared += head.size if ours is not None else 0
            for offset, count in _pieces(head.size, size):
                piece = bytearray(count)
                root.read_into(memoryview(piece), patience)
                self._executor.load(WeightMessage(head.name, head.index, head.offset + offset, memoryview(piece)))
                self.differs |= ours is not None and piece != ours[offset : offset + count]  # as C compares: a view would go byte by byte

    def complete(self, tell: Callable[[int], None]) -> int:
        """From the file, if there is one; the bytes that came from it, now and then. GraphError when it is not the root's model."""
        if self._left and self.differs:
            raise GraphError("weights that are missing and would come from a file that holds another model")
        loaded = 0
        for (name, index, at), share in self._left.items():
            ours = self._ours(share)
            assert ours is not None  # a share was made of it
            for offset, count in _pieces(len(ours), self._sizes[name, index]):
                self._executor.load(WeightMessage(name, index, at + offset, ours[offset : offset + count]))
                tell(loaded + offset)
            loaded += len(ours)
        return loaded

    def _ours(self, share: _Share | None) -> memoryview | None:
        found = self._own.message(share.tensor, share.node, share.nodes) if self._own and share else None
        return found[1] if found else None


def _shares(own: ModelFile, sizes: dict[tuple[str, int], Size3D], net: NetConfig, node: NodeConfig) -> Iterator[tuple[Place, _Share]]:
    """Of every tensor whose operation is in the graph, whole or with this node's part of its rows or columns."""
    for tensor in own.tensors:
        size = sizes.get((tensor.name, tensor.index))
        if size is None or size.type.name != tensor.kind:
            continue
        experts = own.header.experts if tensor.name in OF_EXPERTS and own.header.experts else 1
        for index, count in ((0, 1), (node.node_index, net.n_nodes)):
            if size.z == experts and _is_part(size, tensor, count) and (part := slice_of(tensor, index, count)):
                yield (tensor.name, tensor.index, part.at), _Share(tensor, index, count)
                break


def _is_part(size: Size3D, tensor: Tensor, count: int) -> bool:
    rows, columns = (tensor.columns, 1) if tensor.rows == 1 else (tensor.rows, tensor.columns)
    rows_here, columns_here = size.x * (count if tensor.cut is Cut.ROWS else 1), size.y * (count if tensor.cut is Cut.COLUMNS else 1)
    return (rows_here, columns_here) == (rows, columns)


def _pieces(count: int, size: Size3D) -> Iterator[tuple[int, int]]:
    """Offsets and sizes: whole groups of rows, so that no more than one piece is held twice."""
    group = ROWS * size.type.bytes_of(size.y)
    step = max(PIECE // group, 1) * group
    return ((offset, min(step, count - offset)) for offset in range(0, count, step))
