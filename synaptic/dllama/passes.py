"""
Runs the graph that a root sends: pipes, buffers and weights in memory, operations segment by segment.

Everything is checked and claimed when this is made; a pass allocates nothing. Syncs are the caller's, between
two segments. One pass at a time, from any thread.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from synaptic.dllama import ops
from synaptic.dllama.compute import Compute, compute
from synaptic.dllama.crew import Crew
from synaptic.dllama.graph import GraphError, NetConfig, NodeConfig, OpConfig, Sync, WeightMessage
from synaptic.dllama.memory import Memory, Values
from synaptic.dllama.quants import Floats
from synaptic.dllama.setting import Place, Setting, Step, own_place
from synaptic.dllama.weights import Weight


class Passes:
    """
    `threads`: at most the machine's cores. `on`: what computes, by default numba where it is installed. `place`: matrices
    of the same place share memory, for a caller that loads each before it is used.

    `pipes`: (z, y, x) floats, or (z, y, bytes of a row) of Q80, to read and write between two segments.
    GraphError when the graph cannot be run, MemoryError when it does not fit.
    """

    def __init__(
        self,
        net: NetConfig,
        node: NodeConfig,
        threads: int = 1,
        *,
        on: Compute | None = None,
        place: Place = own_place,
    ) -> None:
        self._node = node
        self._memory = Memory(net, node)
        self.pipes: tuple[Values, ...] = self._memory.pipes
        self._crew = Crew(threads)
        self._positions = np.zeros(net.n_batches, np.int64)
        self._setting = Setting(self._memory, on or compute(), self._crew, self._positions, place=place)
        self._weights: dict[tuple[str, int], Weight] = {}
        try:
            self._steps = tuple(tuple(self._step(op) for op in segment.ops) for segment in node.segments)
        except BaseException:
            self.close()
            raise

    def load(self, message: WeightMessage) -> None:
        """Into the first operation of that name and index. GraphError when there is none, or no place."""
        weight = self._weights.get((message.name, message.index))
        if weight is None:
            raise GraphError(f"{message.name!r} {message.index} has no place in the graph")
        try:
            weight.store(message.offset, message.data)
        except GraphError as error:
            raise GraphError(f"{message.name!r} {message.index}: {error}") from error

    def floats(self, buffer: str) -> Floats:
        """(rows, values) of the first buffer of that name, to read and write between two segments."""
        index = next(index for index, each in enumerate(self._node.buffers) if each.name == buffer)
        found = self._memory.buffer(index)
        return found.floats.reshape(-1, found.columns)

    def forget(self, name: str, index: int) -> None:
        """Give the memory of a weight back; to be loaded anew before its operation runs."""
        self._weights[name, index].forget()

    def run(self, segment: int, batch: int, position: int) -> None:
        """The operations of a segment for the first `batch` rows, which are at `position` and after it. GraphError."""
        if not 0 < batch <= self._memory.rows:
            raise GraphError(f"{batch} rows, and {self._memory.rows} is the most")
        if not 0 <= position <= self._setting.horizon - batch:
            raise GraphError(f"position {position + batch - 1}, and {self._setting.horizon - 1} is the last")
        self._positions[:batch] = range(position, position + batch)
        for step in self._steps[segment]:
            step(batch)

    def forward(self, batch: int, position: int, sync: Callable[[Sync], None]) -> None:
        """All segments, each followed by its syncs."""
        for index, segment in enumerate(self._node.segments):
            self.run(index, batch, position)
            for each in segment.syncs:
                sync(each)

    def close(self) -> None:
        """End the threads."""
        self._crew.dismiss()

    def _step(self, op: OpConfig) -> Step:
        built = ops.build(op, self._setting)
        if built.weight is not None:
            self._weights.setdefault((op.name, op.index), built.weight)
        return built.step
