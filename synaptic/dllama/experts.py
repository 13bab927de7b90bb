"""
The experts of a model that is bigger than its memory: those that tokens are sent to are read, and the last used ones stay.

    routing of a layer ─▶ which experts its rows chose ─▶ those that are not here: read, each in the place of the one that was
    not used for the longest time ─▶ places instead of numbers ─▶ the layer's products

There is one set of places for all layers. The graph believes that each layer has as many experts as there are places.
"""

from __future__ import annotations

import collections
import concurrent.futures
import os
import time
from collections.abc import Sequence

import numpy as np

from synaptic.dllama.executor import Executor
from synaptic.dllama.graph import WeightMessage
from synaptic.dllama.layout import OF_EXPERTS
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.reading import fill

READERS = 4  # at the same time: disks are faster when several ask
Expert = tuple[int, int]  # its layer and number


class Experts:
    """`places`: how many are held; those of all rows of a pass through a layer must fit. `asked`, `hits`, `read`, `seconds` so far."""

    def __init__(self, file: ModelFile, executor: Executor, places: int) -> None:
        self.asked = self.hits = self.read = 0
        self.seconds = 0.0
        self.places = places
        self._file, self._executor = file, executor
        self._chosen = executor.floats("act_exp_ix")
        self._at: collections.OrderedDict[Expert, int] = collections.OrderedDict()
        self._readers = concurrent.futures.ThreadPoolExecutor(READERS, "experts")
        self._descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)

    def ensure(self, layer: int, rows: int) -> None:
        """Have those that the first rows of the pass were sent to, and name their places. OSError."""
        began, chosen = time.perf_counter(), self._chosen[:rows]
        numbers, inverse = np.unique(chosen, return_inverse=True)
        wanted = [(layer, int(number)) for number in numbers]
        here = [expert for expert in wanted if expert in self._at]
        for expert in here:
            self._at.move_to_end(expert)
        missing = [expert for expert in wanted if expert not in self._at]
        for expert in missing:
            self._at[expert] = self._vacated()
        self._fetch(missing)
        chosen[:] = np.array([self._at[expert] for expert in wanted], np.float32)[inverse.reshape(chosen.shape)]
        self.asked, self.hits = self.asked + len(wanted), self.hits + len(here)
        self.seconds += time.perf_counter() - began if missing else 0.0

    def shrink(self, places: int) -> None:
        """All are read anew."""
        self.places = places
        self._at.clear()
        for name in OF_EXPERTS:
            self._executor.forget(name, 0)

    def close(self) -> None:
        self._readers.shutdown()
        os.close(self._descriptor)

    def _vacated(self) -> int:
        if len(self._at) < self.places:
            return len(self._at)
        return self._at.popitem(last=False)[1]

    def _fetch(self, missing: Sequence[Expert]) -> None:
        for count in self._readers.map(self._put, missing):
            self.read += count

    def _put(self, expert: Expert) -> int:
        layer, number = expert
        done = 0
        for name in OF_EXPERTS:
            tensor = self._file.tensor(name, layer, number)
            data = memoryview(bytearray(tensor.bytes))
            fill(self._descriptor, self._file.path, tensor.offset, data)
            self._executor.load(WeightMessage(name, layer, self._at[expert] * tensor.bytes, data))
            done += tensor.bytes
        return done
