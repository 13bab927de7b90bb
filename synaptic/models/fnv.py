"""
FNV-1a with 64 bits, the name that rpc-server gives to a tensor's data: http://www.isthe.com/chongo/tech/comp/fnv/

    hash = 0xcbf29ce484222325;  for each byte: hash = (hash XOR byte) * 0x100000001b3  modulo 2^64

Each step waits for the one before it, so one core does about 1 GB/s of one stream. Several streams side by side fill
those waits: `advance` takes LANES of them. Without numba the same loop runs in plain Python, some sixty times slower.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

OFFSET = 0xCBF29CE484222325
PRIME = 0x100000001B3
LANES = 4
_MASK = 2**64 - 1
_Kernel = Callable[..., None]  # four arrays of bytes, and the four states, which it moves on


@cache
def is_fast() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def advance(pieces: Sequence[memoryview], states: list[int], *, fast: bool | None = None) -> None:
    """Move LANES hashes on, each by its piece (which may be empty). The fast one lets other threads run."""
    assert len(pieces) == len(states) == LANES
    if is_fast() if fast is None else fast:
        _advance_fast(pieces, states)
    else:
        states[:] = [_plain(piece, state) for piece, state in zip(pieces, states, strict=True)]


def name(state: int) -> str:
    """As rpc-server calls the file."""
    return f"{state:016x}"


def _plain(piece: memoryview, state: int) -> int:
    for byte in piece:
        state = ((state ^ byte) * PRIME) & _MASK
    return state


def _advance_fast(pieces: Sequence[memoryview], states: list[int]) -> None:
    import numpy as np

    moving = np.array(states, np.uint64)
    _kernel()(*(np.frombuffer(piece, np.uint8) for piece in pieces), moving)
    states[:] = [int(state) for state in moving]


@cache
def _kernel() -> _Kernel:
    import numpy as np

    prime = np.uint64(PRIME)

    def one(data: np.ndarray, start: int, state: np.uint64) -> np.uint64:
        for at in range(start, data.size):
            state = (state ^ np.uint64(data[at])) * prime
        return state

    def four(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, states: np.ndarray) -> None:
        together = min(a.size, b.size, c.size, d.size)
        h, i, j, k = states[0], states[1], states[2], states[3]  # in registers: four chains of four cycles each overlap
        for at in range(together):
            h = (h ^ np.uint64(a[at])) * prime
            i = (i ^ np.uint64(b[at])) * prime
            j = (j ^ np.uint64(c[at])) * prime
            k = (k ^ np.uint64(d[at])) * prime
        states[0], states[1] = alone(a, together, h), alone(b, together, i)
        states[2], states[3] = alone(c, together, j), alone(d, together, k)

    njit = importlib.import_module("numba").njit(nogil=True)  # not `import numba`: mypy need not know a package that may be missing
    alone = njit(one)
    compiled: _Kernel = njit(four)
    return compiled
