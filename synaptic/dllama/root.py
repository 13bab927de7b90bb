"""
A root whose workers each hold a share of every layer, as distributed-llama's own: 2, 4, 8 … nodes with this one.

All workers are proved free before the first of them is greeted, for a worker whose session never gets going ends; and
every session is ended politely, whatever happens.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from synaptic.dllama import wire
from synaptic.dllama.builder import LOGITS, X, build
from synaptic.dllama.graph import Segment, WeightMessage
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.link import LostError, exchange
from synaptic.dllama.model_file import Floats, ModelFile
from synaptic.dllama.running import Loading, Pass, Tell, Traffic, at_positions, chunks, context_of, embed, nobody, pipe
from synaptic.dllama.shares import MOST_ROWS
from synaptic.dllama.syncs import Exchange, Others, exchanges
from synaptic.dllama.to_worker import PATIENCE, CallOff, LostWorkerError, ToWorker, address, connect, prove
from synaptic.dllama.wire import Peer

_PROBING = 5.0  # seconds for a worker to say that it lives


class TensorRoot:
    """`holding`: workers that have the model file themselves, and are sent no weights. `patience`: seconds without a byte."""

    def __init__(
        self,
        file: ModelFile,
        workers: Sequence[Peer],
        context: int | None = None,
        threads: int = 1,
        patience: float = PATIENCE,
        holding: Collection[Peer] = (),
    ) -> None:
        """GraphError when the model cannot be shared among so many. Takes a moment."""
        from synaptic.dllama.executor import Executor

        self.file, self.workers, self._patience, self._holding = file, tuple(workers), patience, holding
        self.context = context_of(file.header, context)
        self._net, self._nodes = build(file.header, len(workers) + 1, context=self.context)
        self._links: list[ToWorker] = []
        self._executor = Executor(self._net, self._nodes[0], threads)
        self._tell: Tell = nobody

    @property
    def header(self) -> DllamaHeader:
        return self.file.header

    def open(self, call_off: CallOff, tell: Tell) -> None:
        self._call_off, self._tell = call_off, tell
        for worker in self.workers:
            prove(worker, self._patience)
        with finishing(self._links):
            self._meet()
            self._load()
        self._syncs = self._exchanges()

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
            raise blamed(self.workers, error) from error
        logits: Floats = pipe(self._executor, LOGITS)[count - 1]
        return logits

    def cut(self) -> None:
        for link in self._links:
            link.cut()

    def close(self) -> None:
        while self._links:
            self._links.pop().finish()
        self._executor.close()

    def _meet(self) -> None:
        for worker in self.workers:
            self._call_off.check()
            self._links.append(connect(worker, self._patience))
        for index, link in enumerate(self._links):
            others = self.workers[:index] + self.workers[index + 1 :]
            link.greet(wire.Hello(len(self.workers), index, others))
        for link in self._links:
            link.ready()
        for link, node in zip(self._links, self._nodes[1:], strict=True):
            link.net(self._net)
            link.node(node)

    def _load(self) -> None:
        """In the order of the file, which is read once; its pages are let go."""
        done, total = 0, sum(tensor.bytes for tensor in self.file.tensors[1:])
        for tensor in self.file.tensors[1:]:
            self._call_off.check()
            for node, link in enumerate((None, *self._links)):
                if link and link.worker in self._holding:
                    continue
                offset, data = self.file.message(tensor, node, self._net.n_nodes) or (0, b"")
                (link.weight if link else self._executor.load)(WeightMessage(tensor.name, tensor.index, offset, data))
                del data
            self.file.not_needed(tensor)
            done += tensor.bytes
            self._tell(Loading(done, total))
        for link in self._links:
            link.no_more_weights()

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
        self._tell(Pass(count, position, time.perf_counter() - began - waiting, waiting, traffic(self._links)))


@contextlib.contextmanager
def finishing(links: list[ToWorker]) -> Iterator[None]:
    """Should it not come to a session with all of them, end those there are, each as far as it is."""
    try:
        yield
    except BaseException:
        for link in links:
            link.finish()
        links.clear()
        raise


def traffic(links: Sequence[ToWorker]) -> tuple[Traffic, ...]:
    return tuple(Traffic(link.name, link.sent, link.received) for link in links)


def blamed(workers: Sequence[Peer], error: LostError) -> LostError:
    """
    Workers that miss one of theirs close their connections too, so who was noticed first may be alive: ask them.

    Only when the sessions are over.
    """
    for worker in workers:
        try:
            prove(worker, _PROBING)
        except LostWorkerError as found:
            why = error.why if isinstance(error, LostWorkerError) and error.worker == worker else f"was lost: it {found.why}"
            return LostWorkerError(worker, why)
    if isinstance(error, LostWorkerError):
        return error
    named = [worker for worker in workers if address(worker) in str(error)] or list(workers)
    return LostWorkerError(named[0], str(error).removeprefix(address(named[0])).strip())
