"""
Layers read from a model's file ahead of their use, in a circle, never more than so many at a time.

    reader: file ─▶ pieces ─▶ packer: pieces ─▶ weights of the layer ─▶ ready ─▶ used ─▶ its room is free again

Two threads, so that the disk is always busy: one waits for it, the other puts in order what came.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from synaptic.dllama.graph import WeightMessage
from synaptic.dllama.layout import OF_EXPERTS, Tensor, slice_of
from synaptic.dllama.model_file import ModelFile

PIECE = 2 << 20  # bytes, about: whole groups of rows
PIECES = 4  # that are held at once
_GROUP = 32  # rows that the kernels want together
_SILENCE = 60.0  # seconds in which the disk gives nothing
Store = Callable[[WeightMessage], None]


class StillError(OSError):
    """The storage gives nothing any more."""


@dataclasses.dataclass(frozen=True)
class _Piece:
    layer: int
    tensor: Tensor
    at: int  # byte of the operation's weight
    data: memoryview
    is_last: bool  # of its layer


class Reading:
    """
    `read` bytes in `seconds` so far. `store` is called in another thread. A layer is read when its room is free;
    rooms are counted by their number % `rooms`.
    """

    def __init__(self, file: ModelFile, layers: Sequence[int], rooms: int, room: Callable[[int], int], store: Store) -> None:
        self.read, self.seconds = 0, 0.0
        self._file, self._layers, self._number, self._store = file, layers, room, store
        self._rooms = [threading.Semaphore(1) for _ in range(rooms)]
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._filled: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
        self._is_over = False
        size = max((rows * tensor.row_bytes for tensor in _matrices(file, layers[:1]) for _, rows in _groups(tensor)), default=0)
        for _ in range(PIECES):
            self._free.put(bytearray(size))
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True) for work, name in ((self._reader, "read"), (self._packer, "pack"))
        ]
        for thread in self._threads:
            thread.start()

    def await_layer(self, layer: int) -> None:
        """They come in the order of the circle. OSError."""
        before = -1
        while True:
            try:
                found = self._ready.get(timeout=_SILENCE)
            except queue.Empty:
                if before == self.read:
                    raise StillError(f"{self._file.path} gave nothing for {_SILENCE:g} s") from None
                before = self.read
                continue
            if isinstance(found, BaseException):
                raise found
            assert found == layer, (found, layer)
            return

    def done_with(self, layer: int) -> None:
        """The next one may come into its room."""
        self._room(layer).release()

    def close(self) -> None:
        self._is_over = True
        for room in self._rooms:
            room.release()
        self._free.put(bytearray())
        for thread in self._threads:
            thread.join()

    def _room(self, layer: int) -> threading.Semaphore:
        return self._rooms[self._number(layer) % len(self._rooms)]

    def _reader(self) -> None:
        descriptor = os.open(self._file.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if sys.platform == "linux":
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            for layer in itertools.cycle(self._layers):
                self._room(layer).acquire()
                for tensor, at, start, count, is_last in self._pieces(layer):
                    buffer = self._free.get()
                    if self._is_over:
                        return
                    view = memoryview(buffer)[:count]
                    self._fill(descriptor, start, view)
                    self._filled.put(_Piece(layer, tensor, at, view, is_last))
        except OSError as error:
            self._ready.put(error)
        finally:
            self._filled.put(None)
            os.close(descriptor)

    def _pieces(self, layer: int) -> Iterator[tuple[Tensor, int, int, int, bool]]:
        """The tensor, the byte in the weight, the byte in the file, how many, whether it is the layer's last."""
        found = [(tensor, first, rows) for tensor in _matrices(self._file, [layer]) for first, rows in _groups(tensor)]
        for number, (tensor, first, rows) in enumerate(found, 1):
            whole = slice_of(tensor, 0, 1)
            assert whole is not None
            skipped = first * tensor.row_bytes
            yield tensor, whole.at + skipped, whole.start + skipped, rows * tensor.row_bytes, number == len(found)

    def _fill(self, descriptor: int, start: int, view: memoryview) -> None:
        began = time.perf_counter()
        fill(descriptor, self._file.path, start, view)
        self.read += len(view)
        self.seconds += time.perf_counter() - began

    def _packer(self) -> None:
        try:
            while (piece := self._filled.get()) is not None:
                self._store(WeightMessage(piece.tensor.name, piece.tensor.index, piece.at, piece.data))
                buffer = piece.data.obj
                assert isinstance(buffer, bytearray)
                self._free.put(buffer)
                if piece.is_last:
                    self._ready.put(piece.layer)
        except BaseException as error:
            self._ready.put(error)


def fill(descriptor: int, path: Path, start: int, view: memoryview) -> None:
    """With the file's bytes from `start` on. OSError."""
    while view:
        count = os.preadv(descriptor, [view], start)
        if not count:
            raise OSError(f"{path} became shorter")
        start, view = start + count, view[count:]


def is_expert(file: ModelFile, tensor: Tensor) -> bool:
    return file.header.experts > 0 and tensor.name in OF_EXPERTS


def takes_turns(file: ModelFile, tensor: Tensor) -> bool:
    """Norms are small and stay; experts are read when they are chosen."""
    return tensor.rows > 1 and not is_expert(file, tensor)


def _matrices(file: ModelFile, layers: Sequence[int]) -> list[Tensor]:
    """Of these layers, in the order of the file."""
    wanted = frozenset(layers)
    return [tensor for tensor in file.tensors[1:-2] if tensor.index in wanted and takes_turns(file, tensor)]


def _groups(tensor: Tensor) -> Iterator[tuple[int, int]]:
    """First rows and how many."""
    step = max(PIECE // (_GROUP * tensor.row_bytes), 1) * _GROUP
    return ((first, min(step, tensor.rows - first)) for first in range(0, tensor.rows, step))
