"""
The block formats of ggml that weights come in → floats. The layouts are those of ggml-common.h.

Values of a block of 256 lie in groups of 64: of each byte the low half belongs to the first 32, the high half to the
others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from synaptic.dllama.quants import Q40, Q80, dequantize_q40, dequantize_q80

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

KINDS = {  # values of a block, bytes
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
}
_HALVES = np.array([0, 4], np.uint8)
_Q4_1 = np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)])
_Q5_0 = np.dtype([("d", "<f2"), ("qh", "<u4"), ("qs", "u1", 16)])
_Q5_1 = np.dtype([("d", "<f2"), ("m", "<f2"), ("qh", "<u4"), ("qs", "u1", 16)])
_Q4_K = np.dtype([("d", "<f2"), ("m", "<f2"), ("scales", "u1", (3, 4)), ("qs", "u1", (4, 1, 32))])
_Q5_K = np.dtype([("d", "<f2"), ("m", "<f2"), ("scales", "u1", (3, 4)), ("qh", "u1", 32), ("qs", "u1", (4, 1, 32))])
_Q6_K = np.dtype([("ql", "u1", (2, 1, 64)), ("qh", "u1", (2, 1, 32)), ("scales", "i1", 16), ("d", "<f2")])


def floats(raw: bytes, kind: str) -> Floats:
    """Whole blocks of one of the KINDS → all their values, one after another; what is no number stays none."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(_READERS[kind](raw), np.float32).reshape(-1)


def _bf16(raw: bytes) -> Floats:
    return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)


def _q4_1(raw: bytes) -> Floats:
    blocks = np.frombuffer(raw, _Q4_1)
    return _nibbles(blocks["qs"]) * _column(blocks["d"]) + _column(blocks["m"])


def _q5_0(raw: bytes) -> Floats:
    blocks = np.frombuffer(raw, _Q5_0)
    return (_with_fifth_bit(blocks["qs"], blocks["qh"]) - np.float32(16)) * _column(blocks["d"])


def _q5_1(raw: bytes) -> Floats:
    blocks = np.frombuffer(raw, _Q5_1)
    return _with_fifth_bit(blocks["qs"], blocks["qh"]) * _column(blocks["d"]) + _column(blocks["m"])


def _q4_k(raw: bytes) -> Floats:
    blocks = np.frombuffer(raw, _Q4_K)
    levels = blocks["qs"] >> _HALVES[:, None] & 15  # (blocks, 4, 2, 32)
    return _with_minima(levels.reshape(len(blocks), 8, 32), blocks)


def _q5_k(raw: bytes) -> Floats:
    blocks = np.frombuffer(raw, _Q5_K)
    low = (blocks["qs"] >> _HALVES[:, None] & 15).reshape(len(blocks), 8, 32)
    high = blocks["qh"][:, None, :] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    return _with_minima(low | high << 4, blocks)


def _q6_k(raw: bytes) -> Floats:
    blocks = np.frombuffer(raw, _Q6_K)
    low = (blocks["ql"] >> _HALVES[:, None] & 15).reshape(len(blocks), 8, 32)
    high = (blocks["qh"] >> np.arange(0, 8, 2, dtype=np.uint8)[:, None] & 3).reshape(len(blocks), 8, 32)
    levels = (low | high << 4).astype(np.int8) - np.int8(32)
    scales = blocks["d"].astype(np.float32)[:, None] * blocks["scales"]
    return np.asarray(levels.reshape(len(blocks), 16, 16) * scales[:, :, None])


def _with_minima(levels: npt.NDArray[np.integer], blocks: npt.NDArray[np.void]) -> Floats:
    """Eight runs of 32 levels, each with a scale and a minimum of 6 bits, packed into 12 bytes."""
    low, minima, mixed = np.moveaxis(blocks["scales"], 1, 0)  # (blocks, 4) each
    scales = np.concatenate([low & 63, (mixed & 15) | (low >> 2 & 48)], -1) * _column(blocks["d"])
    minima = np.concatenate([minima & 63, (mixed >> 4) | (minima >> 2 & 48)], -1) * _column(blocks["m"])
    return np.asarray(levels * scales[..., None] - minima[..., None], np.float32)


def _with_fifth_bit(packed: Bytes, high: npt.NDArray[np.uint32]) -> Floats:
    bits = (high[:, None] >> np.arange(32, dtype=np.uint32) & 1).astype(np.uint8)
    return (_nibbles(packed).astype(np.uint8) | bits << 4).astype(np.float32)


def _nibbles(packed: Bytes) -> Floats:
    return np.concatenate([packed & 15, packed >> 4], -1).astype(np.float32)


def _column(values: npt.NDArray[np.float16]) -> Floats:
    return values.astype(np.float32)[:, None]


_READERS: dict[str, Callable[[bytes], Floats]] = {
    "F32": lambda raw: np.frombuffer(raw, "<f4"),
    "F16": lambda raw: np.frombuffer(raw, "<f2").astype(np.float32),
    "BF16": _bf16,
    "Q4_0": lambda raw: dequantize_q40(np.frombuffer(raw, Q40)),
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": lambda raw: dequantize_q80(np.frombuffer(raw, Q80)),
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
