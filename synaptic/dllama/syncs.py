"""
How a node exchanges rows of its pipes with the others, during a pass.

Row b of a pipe is cut into as many slices as there are nodes. The original sends and awaits one row after another; on
each connection that is the same stream of bytes as all rows at once, which is what happens here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from synaptic.dllama.graph import ROOT, GraphError, NetConfig, NodeConfig, Segment, Sync, SyncType
from synaptic.dllama.link import Link, exchange

if TYPE_CHECKING:
    import numpy

    Rows = numpy.ndarray[tuple[int, int], numpy.dtype[numpy.uint8]]

Exchange = Callable[[int], None]  # of the first so many rows


@dataclasses.dataclass(frozen=True)
class Others:
    """The connections of a node. `links[s]` leads to node s + 1 from the root; else to node s before `me`, s + 1 after."""

    me: int
    n_nodes: int
    links: Sequence[Link]

    def node(self, link: int) -> int:
        return link + 1 if link >= self.me else link


def check(net: NetConfig, node: NodeConfig, n_links: int) -> None:
    """GraphError when a sync cannot be done over so many connections."""
    if node.node_index >= net.n_nodes:
        raise GraphError(f"node {node.node_index} of {net.n_nodes}")
    for sync in (sync for segment in node.segments for sync in segment.syncs):
        if sync.pipe >= len(net.pipes):
            raise GraphError(f"a sync of pipe {sync.pipe}, which there is not")
        size = net.pipes[sync.pipe].size
        if size.z != 1 or size.y < net.n_batches or not size.row_bytes or size.row_bytes % net.n_nodes:
            raise GraphError(f"a sync of pipe {sync.pipe}, which cannot be cut for {net.n_nodes} nodes and {net.n_batches} rows")
        if sync.type is SyncType.NODE_SLICES and n_links != net.n_nodes - 1:
            raise GraphError(f"a sync between {net.n_nodes} nodes over {n_links} connections")


def exchanges(segment: Segment, pipes: Sequence[Rows], others: Others, patience: float) -> list[Exchange]:
    """What to do after the operations of the segment, in this order. `pipes`: the bytes of each row. Raise LostError."""
    return [_exchange(sync, pipes[sync.pipe], others, patience) for sync in segment.syncs]


def _exchange(sync: Sync, rows: Rows, others: Others, patience: float) -> Exchange:
    if sync.type is SyncType.NODE_SLICES:
        return _Slices(rows, others, others.links, others.links, patience)
    everybody, root = others.links, others.links[:1]
    if sync.type is SyncType.WITH_ROOT:
        return _Whole(rows, everybody, (), patience) if others.me == ROOT else _Whole(rows, (), root, patience)
    return _Slices(rows, others, (), everybody, patience) if others.me == ROOT else _Slices(rows, others, root, (), patience)


class _Whole:
    def __init__(self, rows: Rows, targets: Sequence[Link], sources: Sequence[Link], patience: float) -> None:
        self._rows, self._targets, self._sources, self._patience = rows, targets, sources, patience

    def __call__(self, count: int) -> None:
        rows = self._rows[:count].data.cast("B")
        exchange([(link, rows) for link in self._targets], [(link, rows) for link in self._sources], self._patience)


class _Slices:
    """Our slice of every row to `targets`; those of the nodes behind `sources` from them."""

    def __init__(self, rows: Rows, others: Others, targets: Sequence[Link], sources: Sequence[Link], patience: float) -> None:
        width = rows.shape[1] // others.n_nodes
        self._ours = rows[:, others.me * width : (others.me + 1) * width]
        self._theirs = [rows[:, (node := others.node(s)) * width : (node + 1) * width] for s in range(len(sources))]
        self._targets, self._sources, self._patience = targets, sources, patience
        one = memoryview(self._ours[0])
        self._sent = [(link, one) for link in targets]  # for one row: no copies
        self._fetched = [(link, memoryview(part[0])) for link, part in zip(sources, self._theirs, strict=True)]

    def __call__(self, count: int) -> None:
        if count == 1:
            exchange(self._sent, self._fetched, self._patience)
            return
        ours = memoryview(self._ours[:count].tobytes())
        places = [bytearray(part[:count].nbytes) for part in self._theirs]
        incoming = [(link, memoryview(place)) for link, place in zip(self._sources, places, strict=True)]
        exchange([(link, ours) for link in self._targets], incoming, self._patience)
        for part, place in zip(self._theirs, places, strict=True):
            part[:count] = memoryview(place).cast("B", (count, part.shape[1]))
