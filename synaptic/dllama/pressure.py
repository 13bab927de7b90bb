"""Whether this machine runs out of memory, and how to give some back before it does. Linux; elsewhere it never does."""

from __future__ import annotations

import ctypes
import mmap
import re
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

_LEAST = 0.05  # of the memory, available
_MEMORY = Path("/proc/meminfo")


def is_short(memory: Path = _MEMORY) -> bool:
    """Pages of files that could be dropped count as available."""
    try:
        told = dict(re.findall(r"^(\w+):\s+(\d+) kB$", memory.read_text(), re.MULTILINE))
        return int(told["MemAvailable"]) < _LEAST * int(told["MemTotal"])
    except (OSError, KeyError):
        return False


def give_back(array: npt.NDArray[np.float32] | npt.NDArray[np.uint8]) -> None:
    """Its pages to the system, those that are whole. What was in them is zeros until it is written again, or stays."""
    if sys.platform != "linux":
        return
    first = -(-array.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (array.ctypes.data + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - first
    if size > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), mmap.MADV_DONTNEED)
