"""
How fast a free worker multiplies, asked without a model: it is given weights that no cache holds, and walks through them.

That is what a token of a real model does, and it is limited by memory: a matrix that stays in a cache goes several
times faster. The results are checked, so this also proves that it computes; it listens again afterwards.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable

import numpy as np

from synaptic.dllama import wire
from synaptic.dllama.builder import build_matmul
from synaptic.dllama.graph import WeightMessage
from synaptic.dllama.link import exchange
from synaptic.dllama.model_file import Bytes, Floats, floats
from synaptic.dllama.shares import MOST_ROWS
from synaptic.dllama.to_worker import PATIENCE, LostWorkerError, ToWorker, connect
from synaptic.dllama.wire import Peer

INPUTS, OUTPUTS = 4096, 4096  # a row is 16 KB there and 16 KB back
MATRIX = INPUTS * OUTPUTS // 32 * 18  # bytes
SIZE = 14 * MATRIX  # 132 MB: four times a usual cache, and a second on a link of 1 Gbit/s
LEAST_PASSES = 3
PASSES, ENOUGH = 15, 0.5  # at most; seconds after which no other one begins
_TOLERANCE = 0.02  # of the largest result; rounding to 8 bits is a hundredth of it


@dataclasses.dataclass(frozen=True)
class Speed:
    """
    Multiplications and additions per second, without the way over the network: for one token, and for each of the 32 of
    a prompt's batch. `round_trip`: seconds of the shortest question and answer. `memory`: bytes that it grants a
    session; None: one of the original, which does not say.
    """

    macs: float
    batch_macs: float
    round_trip: float
    memory: int | None = None

    @property
    def weights(self) -> float:
        """Bytes of Q40 weights per second."""
        return self.macs / 32 * 18


def measure(worker: Peer, patience: float = PATIENCE, size: int = SIZE) -> Speed:
    """
    Blocks for a second, and for as long as `size` bytes take on the network; the worker needs room for them.

    LostWorkerError when it is no free worker, or its results are wrong.
    """
    weights, values = _matrix()
    count = max(size // MATRIX, 1)
    net, node = build_matmul(INPUTS, OUTPUTS, count)
    link = connect(worker, patience)
    try:
        greeting = _seconds(lambda: link.greet(wire.Hello(1, 0)))
        link.ready()
        began = time.perf_counter()
        memory = link.net_and_room(net)
        trip = min(greeting, time.perf_counter() - began, _seconds(lambda: link.node(node)))
        # the same bytes each time: the worker keeps every matrix by itself
        link.weights(WeightMessage("multiply", index, 0, weights.reshape(-1).data) for index in range(count))
        expected = count * (values @ floats(weights[_SOME], "Q40").T)
        one, batch = (_usual(link, values[:rows], expected[:rows]) for rows in (1, MOST_ROWS))
    finally:
        link.finish()
    work = count * INPUTS * OUTPUTS
    return Speed(work / _computing(one, trip), MOST_ROWS * work / _computing(batch, trip), trip, memory)


_SOME = slice(None, None, OUTPUTS // 16)  # of the results, to be checked


def _matrix() -> tuple[Bytes, Floats]:
    random = np.random.default_rng(1)
    blocks = np.empty((OUTPUTS, INPUTS // 32), np.dtype([("scale", "<f2"), ("codes", "u1", 16)]))
    blocks["scale"] = 1 / 64
    blocks["codes"] = random.integers(0, 256, (*blocks.shape, 16), np.uint8)
    return blocks.view(np.uint8), random.normal(0, 1, (MOST_ROWS, INPUTS)).astype(np.float32)


def _usual(link: ToWorker, values: Floats, expected: Floats) -> float:
    """Seconds. The median: the best pass is one that had the machine for itself. The first, which may compile a kernel, does not count."""
    _timed(link, values, expected)
    began, took = time.monotonic(), list[float]()
    while len(took) < LEAST_PASSES or (len(took) < PASSES and time.monotonic() - began < ENOUGH):
        took.append(_timed(link, values, expected))
    return statistics.median(took)


def _timed(link: ToWorker, values: Floats, expected: Floats) -> float:
    rows = len(values)
    request = memoryview(wire.encode_control(wire.Control(0, rows)) + values.tobytes())
    answer = bytearray(4 * rows * OUTPUTS)
    took = _seconds(lambda: exchange([(link, request)], [(link, memoryview(answer))], link.patience))
    told = np.frombuffer(answer, "<f4").reshape(rows, OUTPUTS)[:, _SOME]
    if not np.allclose(told, expected, rtol=0, atol=_TOLERANCE * float(np.abs(expected).max())):
        raise LostWorkerError(link.worker, "multiplies wrongly")
    return took


def _computing(took: float, trip: float) -> float:
    """Of a pass, less the way. Never next to nothing, on a link whose delay jumps."""
    return max(took - trip, took / 4)


def _seconds(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began
