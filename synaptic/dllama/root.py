"""A root whose workers each hold a share of every layer, as distributed-llama's own: 2, 4, 8 … nodes with this one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from synaptic.dllama import wire
from synaptic.dllama.builder import LOGITS, X, build
from synaptic.dllama.graph import Segment, WeightMessage
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.holding import question_of
from synaptic.dllama.layout import kv_bytes, weight_bytes
from synaptic.dllama.link import LostError, exchange
from synaptic.dllama.model_file import Floats, ModelFile
from synaptic.dllama.running import Loading, Node, Pass, Placed, Tell, at_positions, chunks, context_of, embed, nobody, pipe
from synaptic.dllama.shares import MOST_ROWS
from synaptic.dllama.syncs import Exchange, Others, exchanges
from synaptic.dllama.to_worker import PATIENCE, CallOff
from synaptic.dllama.wire import Peer
from synaptic.dllama.workers import Workers


class TensorRoot:
    """`patience`: seconds without a byte."""

    def __init__(
        self,
        file: ModelFile,
        workers: Sequence[Peer],
        context: int | None = None,
        threads: int = 1,
        patience: float = PATIENCE,
    ) -> None:
        """GraphError when the model cannot be shared among so many. Takes a moment."""
        from synaptic.dllama.executor import Executor

        self.file, self.workers, self._patience = file, tuple(workers), patience
        self._workers = Workers(workers, patience)
        self.context = context_of(file.header, context)
        self._net, self._nodes = build(file.header, len(workers) + 1, context=self.context)
        self._links = self._workers.links
        self._executor = Executor(self._net, self._nodes[0], threads)
        self._tell: Tell = nobody

    @property
    def header(self) -> DllamaHeader:
        return self.file.header

    def open(self, call_off: CallOff, tell: Tell) -> None:
        self._call_off, self._tell = call_off, tell
        with self._workers.meeting(call_off):
            self._meet()
            self._load()
        self._syncs = self._exchanges()
        tell(self._placed())

    def feed(self, tokens: Sequence[int], position: int, *, wants_logits: bool = True) -> Floats:
        """All nodes compute the logits of every token, wanted or not: so it is with the real root."""
        count = 0
        try:
            for some in chunks(tokens, MOST_ROWS):
                self._call_off.check()
                self._pass(some, position)
                position, count = position + len(some), len(some)
        except LostError as error:
            self.close()
            raise self._workers.blamed(error) from error
        logits: Floats = pipe(self._executor, LOGITS)[count - 1]
        return logits

    def cut(self) -> None:
        self._workers.cut()

    def close(self) -> None:
        self._workers.finish()
        self._executor.close()

    def _meet(self) -> None:
        for index, link in enumerate(self._links):
            others = self.workers[:index] + self.workers[index + 1 :]
            link.greet(wire.Hello(len(self.workers), index, others))
        for link in self._links:
            link.ready()
        question = question_of(self.file)
        for link, node in zip(self._links, self._nodes[1:], strict=True):
            link.configure(self._net, node, question)

    def _load(self) -> None:
        """In the order of the file, which is read once; its pages are let go. Who holds the model reads it meanwhile."""
        done, total = 0, sum(tensor.bytes for tensor in self.file.tensors[1:])
        fed = [link for link in self._links if not link.holds]
        for holder in (link for link in self._links if link.holds):
            holder.end_weights()
        for tensor in self.file.tensors[1:]:
            self._call_off.check()
            for node, link in enumerate((None, *self._links)):
                if link and link.holds:
                    continue
                offset, data = self.file.message(tensor, node, self._net.n_nodes) or (0, b"")
                (link.weight if link else self._executor.load)(WeightMessage(tensor.name, tensor.index, offset, data))
                del data
            self.file.not_needed(tensor)
            done += tensor.bytes
            self._tell(Loading(done, total))
        for each in fed:
            each.end_weights()
        self._workers.settle(done, total, self._call_off, self._tell)

    def _placed(self) -> Placed:
        count, cache = self._net.n_nodes, kv_bytes(self.header, self._net.n_nodes, self.context)
        sizes = [weight_bytes(self.header, node, count) for node in range(count)]
        here, *there = [Node("", 0, self.header.layers, size, cache) for size in sizes]
        told = [dataclasses.replace(node, worker=link.name, holds=link.holds) for node, link in zip(there, self._links, strict=True)]
        return Placed((here, *told))

    def _exchanges(self) -> list[list[Exchange]]:
        rows = [each.view(np.uint8).reshape(self._net.n_batches, -1) for each in self._executor.pipes]
        others = Others(0, self._net.n_nodes, self._links)
        alone = not self._links
        return [[] if alone else exchanges(segment, rows, others, self._patience) for segment in self._segments]

    @property
    def _segments(self) -> tuple[Segment, ...]:
        return self._nodes[0].segments

    def _pass(self, tokens: Sequence[int], position: int) -> None:
        began, count, waiting = time.perf_counter(), len(tokens), 0.0
        rows = embed(self.file, tokens)
        pipe(self._executor, X)[:count] = rows
        at_positions(self._executor, position, count)
        first = memoryview(wire.encode_control(wire.Control(position, count)) + rows.tobytes())
        exchange([(link, first) for link in self._links], [], self._patience)
        for index, steps in enumerate(self._syncs[1:], 1):
            self._executor.run(index, count, position)
            before = time.perf_counter()
            for step in steps:
                step(count)
            waiting += time.perf_counter() - before
        for link in self._links:
            link.waited += waiting
        self._tell(Pass(count, position, time.perf_counter() - began - waiting, waiting, self._workers.traffic()))
