"""
The weights of a distributed-llama model (.m), mapped into memory: nothing is read before it is used, nothing is copied.

Whoever shortens the file while it is mapped ends the process: that is how the system is (SIGBUS).
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from synaptic.dllama.header import DllamaHeader, NotAModelError, read_header
from synaptic.dllama.layout import Slice, Tensor, slice_of, tensors
from synaptic.dllama.quants import Q40, Q80, dequantize_q40, dequantize_q80

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class ModelFile:
    """Usable until it is closed. Arrays that were taken from it keep it mapped."""

    def __init__(self, path: Path) -> None:
        """Blocks on the disk. OSError; NotAModelError when the file is not exactly as long as its header says, or lies."""
        self.path = path
        self.header: DllamaHeader = read_header(path)
        self.tensors: tuple[Tensor, ...] = tensors(self.header)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size != self.header.file_bytes:
                raise NotAModelError("changed while it was read")
            self._map = mmap.mmap(descriptor, self.header.file_bytes, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        self._bytes: Bytes = np.frombuffer(self._map, np.uint8)
        self._named = {(each.name, each.index, each.expert): each for each in self.tensors}

    def tensor(self, name: str, index: int = 0, expert: int = 0) -> Tensor:
        """KeyError when it has none of that name."""
        return self._named[name, index, expert]

    @property
    def head(self) -> bytes:
        return self.bytes_at(0, self.header.header_bytes)

    def bytes_at(self, start: int, count: int) -> bytes:
        return self._bytes[start : start + count].tobytes()

    def raw(self, tensor: Tensor) -> Bytes:
        """(rows, bytes of a row), read-only."""
        return self._bytes[tensor.offset : tensor.offset + tensor.bytes].reshape(tensor.rows, tensor.row_bytes)

    def slice(self, tensor: Tensor, node: int, nodes: int) -> Bytes | None:
        """(runs, bytes of a run) of what a node gets, read-only and, when columns are cut, strided; None: nothing."""
        part = slice_of(tensor, node, nodes)
        return None if part is None else self._view(part)

    def message(self, tensor: Tensor, node: int, nodes: int) -> tuple[int, memoryview] | None:
        """Where in the operation's weight a node's part begins, and its bytes: a view, or a copy when columns are cut."""
        part = slice_of(tensor, node, nodes)
        return None if part is None else (part.at, np.ascontiguousarray(self._view(part)).reshape(-1).data)

    def values(self, tensor: Tensor) -> Floats:
        """A copy as floats, (rows, columns)."""
        return floats(self.raw(tensor), tensor.kind)

    def not_needed(self, tensor: Tensor) -> None:
        """Have the system forget this process's pages of it."""
        start = tensor.offset // mmap.PAGESIZE * mmap.PAGESIZE
        self._map.madvise(mmap.MADV_DONTNEED, start, tensor.offset + tensor.bytes - start)

    def close(self) -> None:
        """What was taken from it stays usable; the map goes with the last of it."""
        self._bytes = np.empty(0, np.uint8)

    def _view(self, part: Slice) -> Bytes:
        first = self._bytes[part.start : part.start + (part.runs - 1) * part.stride + part.run]
        return np.lib.stride_tricks.as_strided(first, (part.runs, part.run), (part.stride, 1), writeable=False)


def floats(raw: Bytes, kind: str) -> Floats:
    """Rows of stored values → the values, row by row."""
    raw = np.ascontiguousarray(raw)
    if kind == "Q40":
        return np.asarray(dequantize_q40(raw.view(Q40)))
    if kind == "Q80":
        return np.asarray(dequantize_q80(raw.view(Q80)))
    return raw.view("<f4" if kind == "F32" else "<f2").astype(np.float32)
