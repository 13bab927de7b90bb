"""
A model on this machine that is bigger than its memory: layers are read from the file when their turn comes.

Each pass needs every layer once, in the same order. To keep the last used ones would be of no use, for each would be
gone when its turn comes again; so the first layers stay for good, as many as there is room for, and the rest goes
through a few rooms in a circle, read ahead. A long prompt goes through each layer at once, so it costs one reading.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from synaptic.dllama.builder import RUN_X, STEP, build_head, build_steps
from synaptic.dllama.graph import GraphError, NetConfig, NodeConfig, OpConfig
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.layers import Head, message, tensors_of
from synaptic.dllama.model_file import Floats, ModelFile
from synaptic.dllama.pressure import is_short
from synaptic.dllama.reading import PIECE, PIECES, Reading, is_matrix
from synaptic.dllama.running import Cached, Loading, Pass, Tell, at_positions, chunks, context_of, embed, nobody, pipe
from synaptic.dllama.shares import MOST_ROWS
from synaptic.dllama.to_worker import CallOff

_ROOMS = 2  # one is read into while the other is used
_AT_ONCE = 16 * MOST_ROWS  # tokens that go through a layer before the next one's turn
_LAZY = ("att", "rope_cache")  # buffers that only take room in the graph: angles and scores are kept once
_PACKED = 20 / 18  # a weight's room here and in the file


@dataclasses.dataclass(frozen=True)
class Needs:
    """Bytes. `always`: whatever is there all the time but layers: head, caches, rows, pieces on their way."""

    layer: int
    layers: int
    always: int

    @property
    def whole(self) -> int:
        return self.always + self.layers * self.layer

    @property
    def least(self) -> int:
        return self.always + _ROOMS * self.layer


def needs(header: DllamaHeader, context: int | None = None) -> Needs:
    tokens = context_of(header, context)
    graphs = (build_steps(header, context=tokens), build_head(header))
    work = sum(_working(net, node) for net, node in graphs)
    angles = tokens * 4 * (header.head_dim + header.heads)
    table = header.vocabulary * header.dim * (_PACKED * 18 / 32 if header.quantization == "Q40" else 4)
    way = PIECES * (PIECE + 32 * 4 * max(header.dim, header.hidden_dim)) + _AT_ONCE * header.dim * 8
    packed = _PACKED if header.quantization == "Q40" else 1
    return Needs(int(header.bytes_per_layer * packed), header.layers, int(work + angles + table + way))


class LayerCache:
    """
    `memory`: bytes, of which never more are used for the model; `pinned`: layers that stay, the first ones, one less with
    each pass that finds the machine short of memory.
    """

    def __init__(
        self, file: ModelFile, memory: int, context: int | None = None, threads: int = 1, is_short: Callable[[], bool] = is_short
    ) -> None:
        """GraphError when not even the least fits. Takes a moment."""
        from synaptic.dllama.executor import Executor

        self.file = file
        self.context = context_of(file.header, context)
        needed = needs(file.header, context)
        if memory < needed.least:
            raise GraphError(f"needs {needed.least / 1e6:,.0f} MB even when read layer by layer, and is allowed {memory / 1e6:,.0f} MB")
        fitting = (memory - needed.always) // needed.layer
        self.pinned = self._fixed = file.header.layers if fitting >= file.header.layers else fitting - _ROOMS
        self._is_short = is_short
        self._reading: Reading | None = None
        self._tell: Tell = nobody
        self._head = Head(file, threads)
        self._executor = Executor(*build_steps(file.header, context=self.context), threads, place=self._place)

    @property
    def header(self) -> DllamaHeader:
        return self.file.header

    def open(self, call_off: CallOff, tell: Tell) -> None:
        self._call_off, self._tell = call_off, tell
        every = tensors_of(self.file, 0, self.header.layers)
        kept = [tensor for tensor in every if tensor.index < self.pinned or not is_matrix(tensor)]
        done, total = 0, sum(tensor.bytes for tensor in kept)
        for tensor in kept:
            call_off.check()
            self._executor.load(message(self.file, tensor))
            self.file.not_needed(tensor)
            done += tensor.bytes
            tell(Loading(done, total))
        self._read_ahead()

    def feed(self, tokens: Sequence[int], position: int, *, wants_logits: bool = True) -> Floats:
        row = np.zeros(self.header.dim, np.float32)
        for some in chunks(tokens, _AT_ONCE):
            self._call_off.check()
            row = self._pass(some, position)
            position += len(some)
        return self._head(row) if wants_logits else row

    def cut(self) -> None:
        """Nothing to cut: a pass asks by itself, after each layer."""

    def close(self) -> None:
        self._close_reading()
        self._executor.close()
        self._head.close()

    def _place(self, op: OpConfig) -> Hashable:
        """Layers that take turns in a room share its weights; the others have their own."""
        return op.name, op.index if op.index < self._fixed else self._fixed + self._room(op.index) % _ROOMS

    def _room(self, layer: int) -> int:
        return layer - self._fixed

    def _read_ahead(self) -> None:
        layers = range(self.pinned, self.header.layers)
        self._reading = Reading(self.file, layers, _ROOMS, self._room, self._executor.load)

    def _loosen(self) -> None:
        """The last of the layers that stay goes, and the circle begins with it from now on."""
        self._close_reading()
        self.pinned -= 1
        self._forget(self.pinned)
        self._read_ahead()

    def _forget(self, layer: int) -> None:
        for tensor in tensors_of(self.file, layer, layer + 1):
            if is_matrix(tensor):
                self._executor.forget(tensor.name, tensor.index)

    def _close_reading(self) -> None:
        if self._reading:
            self._reading.close()
            self._reading = None

    def _pass(self, tokens: Sequence[int], position: int) -> Floats:
        if self.pinned and self._is_short():
            self._loosen()
        assert self._reading is not None
        began, waiting, before = time.perf_counter(), 0.0, (self._reading.read, self._reading.seconds)
        rows = embed(self.file, tokens)
        for layer in range(self.header.layers):
            if layer >= self.pinned:
                start = time.perf_counter()
                self._begin(layer)
                waiting += time.perf_counter() - start
            self._through(layer, rows, position)
            if self.pinned <= layer < self._fixed:
                self._forget(layer)
            if layer >= self.pinned:
                self._reading.done_with(layer)
        self._tell(Pass(len(tokens), position, time.perf_counter() - began - waiting, waiting))
        self._tell(Cached(self.header.layers, self.pinned, self._reading.read - before[0], self._reading.seconds - before[1]))
        last: Floats = rows[-1]
        return last

    def _begin(self, layer: int) -> None:
        """Wait until it is there. When the pass is called off, the circle begins anew for the next."""
        assert self._reading is not None
        try:
            self._call_off.check()
        except BaseException:
            self._close_reading()
            self._read_ahead()
            raise
        self._reading.await_layer(layer)

    def _through(self, layer: int, rows: Floats, position: int) -> None:
        """(tokens, dim), in place."""
        for first in range(0, len(rows), MOST_ROWS):
            some = rows[first : first + MOST_ROWS]
            pipe(self._executor, RUN_X)[: len(some)] = some
            at_positions(self._executor, position + first, len(some))
            for segment in range(STEP * layer, STEP * (layer + 1)):
                self._executor.run(segment, len(some), position + first)
            some[:] = pipe(self._executor, RUN_X)[: len(some)]


def _working(net: NetConfig, node: NodeConfig) -> int:
    """Pipes, and buffers that are used."""
    used = sum(buffer.size.n_bytes for buffer in node.buffers if buffer.name not in _LAZY)
    return used + sum(each.size.n_bytes for each in net.pipes)
