"""
A root whose workers each hold whole layers: any number of them, runs of any length, over unmodified dllama workers too.

    tokens ─▶ embedding here ─▶ run of layers 0-2 ─▶ run 3-9 ─▶ … ─▶ head here ─▶ logits

Every worker has a session of its own and believes to be the one worker of two nodes: it is sent rows of X and sends
rows back, 8 · dim bytes for a token. A long prompt goes through the runs in batches, one behind the other, so that all
workers compute at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from synaptic.dllama import wire
from synaptic.dllama.builder import RUN_OUT, RUN_X, build_head, build_run
from synaptic.dllama.graph import NetConfig, NodeConfig, WeightMessage
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.holding import question_of
from synaptic.dllama.layout import Tensor, kv_bytes
from synaptic.dllama.link import LostError, exchange
from synaptic.dllama.model_file import Floats, ModelFile
from synaptic.dllama.running import Loading, Node, Pass, Placed, Tell, at_positions, chunks, context_of, embed, nobody, pipe
from synaptic.dllama.runs import Run
from synaptic.dllama.shares import MOST_ROWS
from synaptic.dllama.to_worker import PATIENCE, CallOff, ToWorker, address
from synaptic.dllama.workers import Workers


class LayerRoot:
    """`patience`: seconds without a byte."""

    def __init__(
        self,
        file: ModelFile,
        runs: Sequence[Run],
        context: int | None = None,
        threads: int = 1,
        patience: float = PATIENCE,
    ) -> None:
        """ValueError when the runs are not all layers in order; GraphError when the model cannot be computed. Takes a moment."""
        borders = [0, *(run.last for run in runs)]
        if [run.first for run in runs] != borders[:-1] or borders[-1] != file.header.layers or sorted(set(borders)) != borders:
            raise ValueError(f"these are not the layers 0 to {file.header.layers - 1} in order")
        self.file, self.runs, self._threads, self._patience = file, tuple(runs), threads, patience
        self._workers = Workers([run.worker for run in runs if run.worker], patience)
        self.context = context_of(file.header, context)
        self._graphs = [build_run(file.header, run.first, run.last, context=self.context) for run in runs]
        self._head = Head(file, threads)
        self._stages: list[_There | Here] = []
        self._links = self._workers.links
        self._waited = 0.0  # seconds for workers, ever
        self._tell: Tell = nobody

    @property
    def header(self) -> DllamaHeader:
        return self.file.header

    def open(self, call_off: CallOff, tell: Tell) -> None:
        self._call_off, self._tell = call_off, tell
        with self._workers.meeting(call_off):
            self._stages = list(self._configured())
            self._load()
        tell(self._placed())

    def feed(self, tokens: Sequence[int], position: int, *, wants_logits: bool = True) -> Floats:
        began, waited = time.perf_counter(), self._waited
        try:
            rows = self._through(tokens, position)
        except LostError as error:
            self.close()
            raise self._workers.blamed(error) from error
        logits = self._head(rows[-1]) if wants_logits else rows[-1]
        waiting = self._waited - waited
        self._tell(Pass(len(tokens), position, time.perf_counter() - began - waiting, waiting, self._workers.traffic()))
        return logits

    def cut(self) -> None:
        self._workers.cut()

    def close(self) -> None:
        self._workers.finish()
        for stage in self._stages:
            stage.close()
        self._stages = []
        self._head.close()

    def _configured(self) -> Iterator[_There | Here]:
        """All graphs before any weights: a worker that cannot take its run says so before it is sent gigabytes."""
        links, question = iter(self._links), question_of(self.file) if self._links else None
        for run, (net, node) in zip(self.runs, self._graphs, strict=True):
            if run.worker is None or question is None:
                yield Here(net, node, self._threads)
                continue
            link = next(links)
            link.greet(wire.Hello(1, 0))
            link.ready()
            link.configure(net, node, question)
            yield _There(link)

    def _load(self) -> None:
        """To each its next tensor in turn, so that nobody waits for long; and the end when it has all."""
        wanted = [list(tensors_of(self.file, run.first, run.last)) for run in self.runs]
        sent = [[] if stage.holds else tensors for stage, tensors in zip(self._stages, wanted, strict=True)]
        done, total = 0, sum(tensor.bytes for tensors in wanted for tensor in tensors)
        for turn in range(max(map(len, sent)) + 1):
            for stage, tensors in zip(self._stages, sent, strict=True):
                self._call_off.check()
                if turn < len(tensors):
                    stage.load(message(self.file, tensors[turn]))
                    self.file.not_needed(tensors[turn])
                    done += tensors[turn].bytes
                    self._tell(Loading(done, total))
                elif turn == len(tensors):
                    stage.loaded()
        self._workers.settle(done, total, self._call_off, self._tell)

    def _placed(self) -> Placed:
        each = kv_bytes(self.header, 1, self.context) // self.header.layers
        found = []
        for run, stage in zip(self.runs, self._stages, strict=True):
            weights = sum(tensor.bytes for tensor in tensors_of(self.file, run.first, run.last))
            worker = address(run.worker) if run.worker else ""
            found.append(Node(worker, run.first, run.last, weights, each * (run.last - run.first), stage.holds))
        return Placed(tuple(found))

    def _through(self, tokens: Sequence[int], position: int) -> Floats:
        """(tokens of the last batch, dim). At step t stage s has batch t - s."""
        batches = chunks(tokens, MOST_ROWS)
        rows = [embed(self.file, batch) for batch in batches]
        for step in range(len(batches) + len(self._stages) - 1):
            self._call_off.check()
            busy = [(stage, step - s) for s, stage in enumerate(self._stages) if 0 <= step - s < len(batches)]
            self._together(busy, rows, position)
        return rows[-1]

    def _together(self, busy: list[tuple[_There | Here, int]], rows: list[Floats], position: int) -> None:
        there = [(stage, batch) for stage, batch in busy if isinstance(stage, _There)]
        for run, batch in there:
            run.send(rows[batch], position + batch * MOST_ROWS)
        for stage, batch in busy:  # while the others are at work
            if isinstance(stage, Here):
                rows[batch] = stage(rows[batch], position + batch * MOST_ROWS)
        began = time.perf_counter()
        exchange([each.outgoing for each, _ in there], [each.incoming for each, _ in there], self._patience)
        waited = time.perf_counter() - began
        self._waited += waited
        for run, batch in there:
            run.link.waited += waited
            rows[batch] = run.result


class _There:
    """A run of layers at a worker."""

    def __init__(self, link: ToWorker) -> None:
        self.link = link

    @property
    def holds(self) -> bool:
        return self.link.holds

    def load(self, weight: WeightMessage) -> None:
        self.link.weight(weight)

    def loaded(self) -> None:
        self.link.end_weights()

    def close(self) -> None:
        """The session is ended by who began it."""

    def send(self, rows: Floats, position: int) -> None:
        """What the system takes at once; the rest is `outgoing`."""
        self.result = np.empty_like(rows)
        data = memoryview(wire.encode_control(wire.Control(position, len(rows))) + rows.tobytes())
        self.outgoing = (self.link, self.link.write_some(data))
        self.incoming = (self.link, self.result.reshape(-1).view(np.uint8).data)


class Here:
    """A run of layers in this process: (rows, dim) in, (rows, dim) out."""

    holds = False

    def __init__(self, net: NetConfig, node: NodeConfig, threads: int) -> None:
        from synaptic.dllama.executor import Executor  # takes a moment

        self._executor, self._n_segments = Executor(net, node, threads), len(node.segments)

    def load(self, weight: WeightMessage) -> None:
        self._executor.load(weight)

    def loaded(self) -> None:
        """There is no one to tell."""

    def close(self) -> None:
        self._executor.close()

    def __call__(self, rows: Floats, position: int) -> Floats:
        count, dim = rows.shape
        pipe(self._executor, RUN_X)[:count] = rows
        at_positions(self._executor, position, count)
        for index in range(self._n_segments):
            self._executor.run(index, count, position)
        return pipe(self._executor, RUN_OUT)[:count, dim:].copy()


class Head:
    """From the last layer's result of one token (dim,) to its logits (vocabulary,), which are valid until the next."""

    def __init__(self, file: ModelFile, threads: int) -> None:
        from synaptic.dllama.executor import Executor  # takes a moment

        self._executor = Executor(*build_head(file.header), threads)
        for tensor in file.tensors[-2:]:
            self._executor.load(message(file, tensor))
            file.not_needed(tensor)

    def close(self) -> None:
        self._executor.close()

    def __call__(self, row: Floats) -> Floats:
        pipe(self._executor, RUN_X)[0] = row
        self._executor.run(0, 1, 0)
        logits: Floats = pipe(self._executor, RUN_OUT)[0]
        return logits


def tensors_of(file: ModelFile, first: int, last: int) -> Iterator[Tensor]:
    """Of these layers, in the order of the file."""
    inside = file.tensors[1:-2]
    return (tensor for tensor in inside if first <= tensor.index < last)


def message(file: ModelFile, tensor: Tensor) -> WeightMessage:
    """The whole tensor."""
    offset, data = file.message(tensor, 0, 1) or (0, b"")
    return WeightMessage(tensor.name, tensor.index, offset, data)
