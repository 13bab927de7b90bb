#!/usr/bin/env python3
"""
How fast tensors get the names that rpc-servers know them by (FNV-1a-64), beside other hashes of the same bytes in the
same run. GB/s of data in memory, one thread unless it says otherwise; the ratios are to four tensors at once.

    python scripts/bench_cache.py [MEGABYTES]
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from synaptic.models.fnv import LANES, OFFSET, advance, is_fast  # noqa: E402
from synaptic.models.tensor_hash import BITE, Stretch, hashed  # noqa: E402

ENOUGH = 0.5  # GB/s of one core
SLOW = 4 * 1024**2  # bytes for the loop in plain Python


def main() -> None:
    size = (int(sys.argv[1]) if len(sys.argv) > 1 else 512) * 1024**2
    data = memoryview(bytearray(os.urandom(size)))
    cores = len(os.sched_getaffinity(0))
    plain = speed(SLOW, lambda: lanes(data[:SLOW], 1, fast=False))
    print(f"{'FNV-1a, plain Python':32}{plain:8.3f} GB/s")
    if not is_fast():
        sys.exit("numba is not installed: main.py engine install builtin")
    lanes(data[: LANES * 16], LANES, fast=True)  # compiled
    ours = speed(size, lambda: lanes(data, LANES, fast=True))
    rows = [
        ("FNV-1a, one tensor", speed(size, lambda: lanes(data, 1, fast=True))),
        (f"FNV-1a, {LANES} tensors at once", ours),
        (f"  from files, {cores} threads", from_files(data, cores)),
        ("sha256", speed(size, lambda: hashlib.sha256(data))),
        ("blake2b", speed(size, lambda: hashlib.blake2b(data))),
    ]
    for what, found in rows:
        print(f"{what:32}{found:8.3f} GB/s{ours / found:8.2f}")
    print(f"{ENOUGH} GB/s of one core: {'reached' if min(rows[0][1], ours) >= ENOUGH else 'NOT reached'}")


def speed(count: int, run: Callable[[], object]) -> float:
    """GB/s, the best of three."""
    found = []
    for _ in range(3):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return count / min(found) / 1e9


def lanes(data: memoryview, count: int, *, fast: bool) -> None:
    """Hash `data` as so many tensors of equal size side by side."""
    size = len(data) // count
    states = [OFFSET] * LANES
    for start in range(0, size, BITE):
        end = min(start + BITE, size)
        pieces = [data[lane * size + start : lane * size + end] if lane < count else data[:0] for lane in range(LANES)]
        advance(pieces, states, fast=fast)


def from_files(data: memoryview, threads: int) -> float:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        size = len(data) // 16
        stretches = [Stretch(Path(file.name), number * size, size) for number in range(16)]

        def run() -> None:
            waiting, stop = deque(stretches), threading.Event()
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda _: list(hashed(waiting, lambda count: None, stop)), range(threads)))

        return speed(16 * size, run)


if __name__ == "__main__":
    main()
