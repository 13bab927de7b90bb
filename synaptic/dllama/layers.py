"""
A root whose workers each hold whole layers: any number of them, runs of any length, over unmodified dllama workers too.

    tokens ─▶ embedding here ─▶ run of layers 0-2 ─▶ run 3-9 ─▶ … ─▶ head here ─▶ logits

Every worker has a session of its own and believes to be the one worker of two nodes: it is sent rows of X and sends
rows back, 8 · dim bytes for a token. A long prompt goes through the runs in batches, one behind the other, so that all
workers compute at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from synaptic.dllama import wire
from synaptic.dllama.builder import RUN_OUT, RUN_X, build_head, build_run
from synaptic.dllama.graph import NetConfig, NodeConfig, WeightMessage
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.layout import Tensor
from synaptic.dllama.link import LostError, exchange
from synaptic.dllama.model_file import Floats, ModelFile
from synaptic.dllama.root import blamed, finishing, traffic
from synaptic.dllama.running import Loading, Pass, Tell, at_positions, chunks, context_of, embed, nobody, pipe
from synaptic.dllama.runs import Run
from synaptic.dllama.shares import MOST_ROWS
from synaptic.dllama.to_worker import PATIENCE, CallOff, ToWorker, connect, prove
from synaptic.dllama.wire import Peer


class LayerRoot:
    """`holding`: workers that have the model file themselves, and are sent no weights. `patience`: seconds without a byte."""

    def __init__(
        self,
        file: ModelFile,
        runs: Sequence[Run],
        context: int | None = None,
        threads: int = 1,
        patience: float = PATIENCE,
        holding: Collection[Peer] = (),
    ) -> None:
        """ValueError when the runs are not all layers in order; GraphError when the model cannot be computed. Takes a moment."""
        borders = [0, *(run.last for run in runs)]
        if [run.first for run in runs] != borders[:-1] or borders[-1] != file.header.layers or sorted(set(borders)) != borders:
            raise ValueError(f"these are not the layers 0 to {file.header.layers - 1} in order")
        self.file, self.runs, self._threads, self._patience, self._holding = file, tuple(runs), threads, patience, holding
        self.context = context_of(file.header, context)
        self._graphs = [build_run(file.header, run.first, run.last, context=self.context) for run in runs]
        self._head = Head(file, threads)
        self._stages: list[_There | Here] = []
        self._links: list[ToWorker] = []
        self._waited = 0.0  # seconds for workers, ever
        self._tell: Tell = nobody

    @property
    def header(self) -> DllamaHeader:
        return self.file.header

    def open(self, call_off: CallOff, tell: Tell) -> None:
        self._call_off, self._tell = call_off, tell
        workers = [run.worker for run in self.runs if run.worker]
        for worker in workers:
            prove(worker, self._patience)
        with finishing(self._links):
            for worker in workers:
                self._call_off.check()
                self._links.append(connect(worker, self._patience))
            self._stages = list(self._configured())
            self._load()

    def feed(self, tokens: Sequence[int], position: int, *, wants_logits: bool = True) -> Floats:
        began, waited = time.perf_counter(), self._waited
        try:
            rows = self._through(tokens, position)
        except LostError as error:
            self.close()
            raise blamed([run.worker for run in self.runs if run.worker], error) from error
        logits = self._head(rows[-1]) if wants_logits else rows[-1]
        waiting = self._waited - waited
        self._tell(Pass(len(tokens), position, time.perf_counter() - began - waiting, waiting, traffic(self._links)))
        return logits

    def cut(self) -> None:
        for link in self._links:
            link.cut()

    def close(self) -> None:
        while self._links:
            self._links.pop().finish()
        for stage in self._stages:
            stage.close()
        self._stages = []
        self._head.close()

    def _configured(self) -> Iterator[_There | Here]:
        """All graphs before any weights: a worker that cannot take its run says so before it is sent gigabytes."""
        links = iter(self._links)
        for run, (net, node) in zip(self.runs, self._graphs, strict=True):
            if run.worker is None:
                yield Here(net, node, self._threads)
                continue
            link = next(links)
            link.greet(wire.Hello(1, 0))
            link.ready()
            link.net(net)
            link.node(node)
            yield _There(link, self.header.dim)

    def _load(self) -> None:
        """To each its next tensor in turn, so that nobody waits for long; and the end when it has all."""
        sent = [[] if run.worker in self._holding else list(tensors_of(self.file, run.first, run.last)) for run in self.runs]
        done, total = 0, sum(tensor.bytes for tensors in sent for tensor in tensors)
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
        self._waited += time.perf_counter() - began
        for run, batch in there:
            rows[batch] = run.result


class _There:
    """A run of layers at a worker."""

    def __init__(self, link: ToWorker, dim: int) -> None:
        self._link, self._dim = link, dim

    def load(self, weight: WeightMessage) -> None:
        self._link.weight(weight)

    def loaded(self) -> None:
        self._link.no_more_weights()

    def close(self) -> None:
        """The session is ended by who began it."""

    def send(self, rows: Floats, position: int) -> None:
        """What the system takes at once; the rest is `outgoing`."""
        self.result = np.empty_like(rows)
        data = memoryview(wire.encode_control(wire.Control(position, len(rows))) + rows.tobytes())
        self.outgoing = (self._link, self._link.write_some(data))
        self.incoming = (self._link, self.result.reshape(-1).view(np.uint8).data)


class Here:
    """A run of layers in this process: (rows, dim) in, (rows, dim) out."""

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
