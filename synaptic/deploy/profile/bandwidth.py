"""How fast this machine reads its memory: every core compares two equal buffers that fit no cache."""

from __future__ import annotations

import concurrent.futures
import ctypes
import time

SIZE = 1 << 27  # bytes of each of two buffers, over all cores: far more than any cache of a small machine
ROUNDS = 5


def read_bandwidth(cores: int, *, size: int = SIZE, rounds: int = ROUNDS) -> float:
    """Bytes/s, of the best round. `memcmp` reads both buffers to their end, and lets Python's other threads run meanwhile."""
    memcmp = ctypes.CDLL(None).memcmp
    memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    part = max(size // cores, 1)
    buffers = [(ctypes.create_string_buffer(part), ctypes.create_string_buffer(part)) for _ in range(cores)]
    for pair in buffers:
        for each in pair:
            ctypes.memset(each, 1, part)  # else every page is the same empty one

    def compare(pair: tuple[ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]]) -> int:
        return int(memcmp(pair[0], pair[1], part))

    best = 0.0
    with concurrent.futures.ThreadPoolExecutor(cores) as crew:
        for _ in range(rounds):
            started = time.perf_counter()
            assert not any(crew.map(compare, buffers))
            best = max(best, 2 * part * cores / (time.perf_counter() - started))
    return best
