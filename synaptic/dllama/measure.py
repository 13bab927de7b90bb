"""
How fast a free worker multiplies, asked without a model: one matrix of random 4-bit weights, a few times.

Its results are checked, so this also proves that it computes; it listens again afterwards.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from synaptic.dllama import wire
from synaptic.dllama.builder import build_matmul
from synaptic.dllama.graph import WeightMessage
from synaptic.dllama.link import exchange
from synaptic.dllama.model_file import Bytes, Floats, floats
from synaptic.dllama.to_worker import PATIENCE, LostWorkerError, ToWorker, connect
from synaptic.dllama.wire import Peer

COLUMNS, ROWS = 4096, 4096  # 9.4 MB of weights, more than most caches hold; 16 KB go there and 16 KB come back
PASSES = 6
_TOLERANCE = 0.02  # of the largest result; rounding to 8 bits is a hundredth of it


@dataclasses.dataclass(frozen=True)
class Speed:
    """Multiplications and additions per second, the way over the network included."""

    macs: float

    @property
    def weights(self) -> float:
        """Bytes of Q40 weights per second."""
        return self.macs / 32 * 18


def measure(worker: Peer, patience: float = PATIENCE) -> Speed:
    """Blocks for some tens of milliseconds. LostWorkerError when it is no free worker, or its results are wrong."""
    weights, values = _matrix()
    link = connect(worker, patience)
    try:
        link.greet(wire.Hello(1, 0))
        link.ready()
        net, node = build_matmul(COLUMNS, ROWS)
        link.net(net)
        link.node(node)
        link.weights([WeightMessage("multiply", 0, 0, weights.reshape(-1).data)])
        best = min(_timed(link, weights, values) for _ in range(PASSES))
    finally:
        link.finish()
    return Speed(COLUMNS * ROWS / best)


def _matrix() -> tuple[Bytes, Floats]:
    random = np.random.default_rng(1)
    blocks = np.empty((ROWS, COLUMNS // 32), np.dtype([("scale", "<f2"), ("codes", "u1", 16)]))
    blocks["scale"] = 1 / 64
    blocks["codes"] = random.integers(0, 256, (*blocks.shape, 16), np.uint8)
    return blocks.view(np.uint8), random.normal(0, 1, COLUMNS).astype(np.float32)


def _timed(link: ToWorker, weights: Bytes, values: Floats) -> float:
    """Seconds."""
    request = memoryview(wire.encode_control(wire.Control(0, 1)) + values.tobytes())
    answer = bytearray(4 * ROWS)
    began = time.perf_counter()
    exchange([(link, request)], [(link, memoryview(answer))], link.patience)
    took = time.perf_counter() - began
    some = slice(None, None, ROWS // 16)
    expected, told = floats(weights[some], "Q40") @ values, np.frombuffer(answer, "<f4")[some]
    if not np.allclose(told, expected, rtol=0, atol=_TOLERANCE * float(np.abs(expected).max())):
        raise LostWorkerError(link.worker, "multiplies wrongly")
    return took
