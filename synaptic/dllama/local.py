"""
A model on this machine that is bigger than its memory: layers are read from the file when their turn comes.

Each pass needs every layer once, in the same order. To keep the last used ones would be of no use, for each would be
gone when its turn comes again; so the first layers stay for good, as many as there is room for, and the rest goes
through a few rooms in a circle, read ahead. A long prompt goes through each layer at once, so it costs one reading.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from synaptic.dllama.builder import CHOSEN, RUN_X, build_head, build_steps
from synaptic.dllama.experts import READERS, Experts
from synaptic.dllama.graph import GraphError, MatmulConfig, NetConfig, NodeConfig, OpConfig
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.layers import Head, message, tensors_of
from synaptic.dllama.layout import OF_EXPERTS, kv_bytes
from synaptic.dllama.model_file import Floats, ModelFile
from synaptic.dllama.pressure import is_short
from synaptic.dllama.reading import PIECE, PIECES, Reading, is_expert, takes_turns
from synaptic.dllama.running import Cached, Loading, Node, Pass, Placed, Tell, at_positions, chunks, context_of, embed, nobody, pipe
from synaptic.dllama.shares import MOST_ROWS
from synaptic.dllama.to_worker import CallOff

_MIB = 1 << 20
_ROOMS = 2  # one is read into while the other is used
_FEW = 3  # tokens whose experts are there at the same time, at least
_AT_ONCE = 16 * MOST_ROWS  # tokens that go through a layer before the next one's turn
_LAZY = ("att", "rope_cache")  # buffers that only take room in the graph: angles and scores are kept once
_PACKED = 20 / 18  # a weight's room here and in the file


@dataclasses.dataclass(frozen=True)
class Needs:
    """
    Bytes. `always`: whatever is there all the time but layers: head, caches, rows, pieces on their way. `layer`: without
    its experts, of which there are `experts` of `expert` bytes in each, and at least `few` must be there.
    """

    layer: int
    layers: int
    always: int
    expert: int = 0
    experts: int = 0
    few: int = 0

    @property
    def whole(self) -> int:
        return self.always + self.layers * (self.layer + self.experts * self.expert)

    @property
    def least(self) -> int:
        return self.always + _ROOMS * self.layer + self.few * self.expert

    def pinned(self, memory: int) -> int:
        """How many layers can stay. GraphError when not even the least fits."""
        if memory < self.least:
            least, allowed = -(-self.least // _MIB), memory // _MIB
            raise GraphError(f"needs {least:,} MiB even when read layer by layer, and is allowed {allowed:,} MiB")
        fitting = (memory - self.always - self.few * self.expert) // self.layer
        return self.layers if fitting >= self.layers else fitting - _ROOMS

    def places(self, memory: int) -> int:
        """How many experts can, beside those layers."""
        if not self.expert:
            return 0
        layers = min(self.pinned(memory) + _ROOMS, self.layers)
        return min((memory - self.always - layers * self.layer) // self.expert, self.layers * self.experts)


def needs(header: DllamaHeader, context: int | None = None) -> Needs:
    tokens = context_of(header, context)
    graphs = (build_steps(header, context=tokens), build_head(header))
    work = sum(_working(net, node) for net, node in graphs)
    angles = tokens * 4 * (header.head_dim + header.heads)
    table = header.vocabulary * header.dim * (_PACKED * 18 / 32 if header.quantization == "Q40" else 4)
    way = PIECES * (PIECE + 32 * 4 * max(header.dim, header.hidden_dim)) + _AT_ONCE * header.dim * 8
    packed = _PACKED if header.quantization == "Q40" else 1
    expert = header.bytes_per_expert
    way += READERS * expert // len(OF_EXPERTS)
    layer, few = header.bytes_per_layer - header.experts * expert, min(header.experts, _FEW * header.active_experts)
    return Needs(int(layer * packed), header.layers, int(work + angles + table + way), int(expert * packed), header.experts, few)


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
        self.pinned = self._fixed = needed.pinned(memory)
        self._few, places = needed.few, needed.places(memory)
        self._rooms = min(_ROOMS, needed.layers - self.pinned) * needed.layer + places * needed.expert  # bytes
        self._is_short = is_short
        self._reading: Reading | None = None
        self._tell: Tell = nobody
        self._head = Head(file, threads)
        net, node = build_steps(file.header, context=self.context, room=places)
        self._step = len(node.segments) // file.header.layers
        self._executor = Executor(net, node, threads, place=self._place)
        self._experts = Experts(file, self._executor, places) if places else None

    @property
    def header(self) -> DllamaHeader:
        return self.file.header

    def open(self, call_off: CallOff, tell: Tell) -> None:
        self._call_off, self._tell = call_off, tell
        every = tensors_of(self.file, 0, self.header.layers)
        dense = [tensor for tensor in every if not is_expert(self.file, tensor)]
        kept = [tensor for tensor in dense if tensor.index < self.pinned or not takes_turns(self.file, tensor)]
        done, total = 0, sum(tensor.bytes for tensor in kept)
        for tensor in kept:
            call_off.check()
            self._executor.load(message(self.file, tensor))
            self.file.not_needed(tensor)
            done += tensor.bytes
            tell(Loading(done, total))
        self._read_ahead()
        here = Node("", 0, self.pinned, done + self._rooms, kv_bytes(self.header, 1, self.context))
        tell(Placed((here,), self.header.layers - self.pinned))

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
        if self._experts:
            self._experts.close()
            self._experts = None
        self._executor.close()
        self._head.close()

    def _place(self, op: OpConfig) -> Hashable:
        """Layers that take turns in a room share its weights, and so do all that have experts; the others have their own."""
        if isinstance(op.config, MatmulConfig) and op.config.n_experts:
            return op.name
        return op.name, op.index if op.index < self._fixed else self._fixed + self._room(op.index) % _ROOMS

    def _room(self, layer: int) -> int:
        return layer - self._fixed

    def _read_ahead(self) -> None:
        layers = range(self.pinned, self.header.layers)
        self._reading = Reading(self.file, layers, _ROOMS, self._room, self._executor.load)

    def _loosen(self) -> None:
        """Half of the experts' places go, or the last of the layers that stay, with which the circle begins from now on."""
        if self._experts and self._experts.places > self._few:
            self._experts.shrink(max(self._experts.places // 2, self._few))
            return
        self._close_reading()
        self.pinned -= 1
        self._forget(self.pinned)
        self._read_ahead()

    def _forget(self, layer: int) -> None:
        for tensor in tensors_of(self.file, layer, layer + 1):
            if takes_turns(self.file, tensor):
                self._executor.forget(tensor.name, tensor.index)

    def _close_reading(self) -> None:
        if self._reading:
            self._reading.close()
            self._reading = None

    def _pass(self, tokens: Sequence[int], position: int) -> Floats:
        if (self.pinned or (self._experts and self._experts.places > self._few)) and self._is_short():
            self._loosen()
        assert self._reading is not None
        began, waiting, before = time.perf_counter(), 0.0, self._so_far()
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
        read, seconds, experts, hits, fetching = (now - then for now, then in zip(self._so_far(), before, strict=True))
        waiting += fetching
        self._tell(Pass(len(tokens), position, time.perf_counter() - began - waiting, waiting))
        self._tell(Cached(self.header.layers, self.pinned, int(read), seconds, int(experts), int(hits)))
        last: Floats = rows[-1]
        return last

    def _so_far(self) -> tuple[float, ...]:
        """Bytes read, seconds of it, experts that were needed and were there, seconds that they were waited for."""
        assert self._reading is not None
        if not self._experts:
            return self._reading.read, self._reading.seconds, 0, 0, 0.0
        e, reading = self._experts, self._reading
        return reading.read + e.read, reading.seconds + e.seconds, e.asked, e.hits, e.seconds

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
        for first, count in self._batches(len(rows)):
            some = rows[first : first + count]
            pipe(self._executor, RUN_X)[: len(some)] = some
            at_positions(self._executor, position + first, len(some))
            for segment in range(self._step):
                if self._experts and segment == CHOSEN:
                    self._experts.ensure(layer, count)
                self._executor.run(self._step * layer + segment, count, position + first)
            some[:] = pipe(self._executor, RUN_X)[:count]

    def _batches(self, count: int) -> list[tuple[int, int]]:
        """First rows and how many: as many as there are places for their experts, and never a single one of several."""
        if not self._experts or self._experts.places >= self.header.experts:
            return [(first, min(MOST_ROWS, count - first)) for first in range(0, count, MOST_ROWS)]
        n = -(-count // min(MOST_ROWS, self._experts.places // self.header.active_experts))
        borders = [count * each // n for each in range(n + 1)]
        return [(first, last - first) for first, last in itertools.pairwise(borders)]


def _working(net: NetConfig, node: NodeConfig) -> int:
    """Pipes, and buffers that are used."""
    used = sum(buffer.size.n_bytes for buffer in node.buffers if buffer.name not in _LAZY)
    return used + sum(each.size.n_bytes for each in net.pipes)
