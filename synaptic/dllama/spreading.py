"""How a model is spread: over which workers, by shares or by layers, or on this machine, within which memory."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from synaptic.dllama.graph import GraphError
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.layout import uncuttable
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.running import Running
from synaptic.dllama.runs import Run, runs_of, spread
from synaptic.dllama.to_worker import PATIENCE
from synaptic.dllama.wire import Peer


class Split(enum.Enum):
    NONE = "none"  # on this machine alone
    TENSOR = "tensor"  # every node a share of every layer
    LAYERS = "layers"  # every worker a run of layers


@dataclasses.dataclass(frozen=True)
class Spreading:
    """
    `layers`: how many each worker gets, by default in proportion to its measured speed, within `most`.
    `here`: layers before those that this machine computes itself. `memory`: bytes, for a machine alone; a model that
    needs more is read from its file again and again.
    """

    workers: tuple[Peer, ...] = ()
    split: Split = Split.NONE
    layers: tuple[int, ...] | None = None
    most: tuple[int, ...] | None = None
    here: int = 0
    memory: int | None = None
    context: int | None = None
    threads: int = 1
    patience: float = PATIENCE

    def __post_init__(self) -> None:
        if (self.split is Split.NONE) is bool(self.workers):
            raise ValueError("a split is between workers")

    def running(self, file: ModelFile) -> Running:
        """Not open yet. Measures workers where it must. GraphError, LostWorkerError, ValueError."""
        if self.split is Split.TENSOR:
            from synaptic.dllama.root import TensorRoot

            return TensorRoot(file, self.workers, self.context, self.threads, self.patience)
        if self.split is Split.NONE and self.memory is not None:
            from synaptic.dllama.local import LayerCache, needs

            if needs(file.header, self.context).whole > self.memory:
                return LayerCache(file, self.memory, self.context, self.threads)
        return self._by_layers(file)

    def without(self, worker: Peer, header: DllamaHeader) -> Spreading | None:
        """Over the others, as many as can be; None: over none."""
        left = [each for each in self.workers if each != worker]
        if self.split is Split.TENSOR:
            while left and uncuttable(header, len(left) + 1):
                left.pop()
        if not left:
            return None
        most = self.most and tuple(most for each, most in zip(self.workers, self.most, strict=True) if each != worker)
        return dataclasses.replace(self, workers=tuple(left), layers=None, most=most)

    def _by_layers(self, file: ModelFile) -> Running:
        from synaptic.dllama.layers import LayerRoot

        alone = self.split is Split.NONE
        counts = [file.header.layers] if alone else [self.here, *self._counts(file.header.layers - self.here)]
        runs: Sequence[Run] = runs_of([None, *self.workers], counts)
        return LayerRoot(file, runs, self.context, self.threads, self.patience)

    def _counts(self, layers: int) -> Sequence[int]:
        if self.layers is not None:
            return self.layers
        from synaptic.dllama.measure import measure

        try:
            return spread(layers, [measure(worker, self.patience).macs for worker in self.workers], self.most)
        except ValueError as error:
            raise GraphError(f"does not fit these workers: {error}") from error
