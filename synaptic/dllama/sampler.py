"""
Which token comes next, as distributed-llama draws it: for the same logits and the same seed the same token.

One coin is thrown for each token; the temperature 0 throws none. Everything is rounded to 32 bits where the original
rounds, and added in its order (eight sums side by side, built with AVX2).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_F32 = np.float32
_MASK = 2**64 - 1
_POLYNOMIAL = (0.05550410866482158, 0.2402265069591007, 0.6931471805599453, 1.0)


class Sampler:
    """`top_p` of 0 or less, or of 1 or more: every token may be drawn."""

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        self.temperature = _F32(temperature)
        self.top_p = _F32(top_p)
        self._state = seed & _MASK

    def sample(self, logits: Floats) -> int:
        """`logits`: of one position, as many as the tokenizer has tokens; they are left as they are."""
        if self.temperature == 0:
            return int(np.argmax(logits))
        with np.errstate(invalid="ignore", over="ignore"):
            odds = softmax(np.asarray(logits, _F32) / self.temperature)
        coin = self._coin()
        if not 0 < self.top_p < 1:
            return _first_above(np.cumsum(odds, dtype=_F32), coin)
        return _from_the_best(odds, self.top_p, coin)

    def _coin(self) -> np.float32:
        """xorshift64*: 24 bits of 0 ≤ coin < 1. The seed 0 always throws 0."""
        state = self._state
        state ^= state >> 12
        state = (state ^ state << 25) & _MASK
        self._state = state ^ state >> 27
        return _F32((self._state * 0x2545F4914F6CDD1D & _MASK) >> 40) / _F32(2**24)


def softmax(values: Floats) -> Floats:
    """(n,) → (n,)"""
    shifted = np.asarray(values - values.max(), _F32)
    whole = len(shifted) // 8 * 8
    powers = np.empty_like(shifted)
    powers[:whole] = _exp(shifted[:whole])
    powers[whole:] = [math.exp(value) for value in shifted[whole:]]
    total = _sum8(powers[:whole])
    for value in powers[whole:]:
        total = _F32(total + value)
    return np.asarray(powers * (_F32(1) / (total if total else _F32(1e-6))), _F32)


def _exp(values: Floats) -> Floats:
    """The original's, which is up to 4e-5 off."""
    scaled = np.clip(values, _F32(-88), _F32(88)) * _F32(1.44269504)
    power = np.rint(scaled)
    rest = scaled - power
    result = np.full_like(rest, _F32(0.009618129107628477))
    for factor in _POLYNOMIAL:
        result = _fma(result, rest, factor)
    return np.asarray(np.ldexp(result, power.astype(np.int32)), _F32)


def _fma(one: Floats, other: Floats, addend: float) -> Floats:
    """Rounded once: the product of two 32-bit floats is exact in 64 bits."""
    return (one.astype(np.float64) * other + np.float64(_F32(addend))).astype(_F32)


def _sum8(values: Floats) -> np.float32:
    if not len(values):
        return _F32(0)
    a, b, c, d, e, f, g, h = np.cumsum(values.reshape(-1, 8), axis=0, dtype=_F32)[-1]
    return _F32(((e + a) + (g + c)) + ((f + b) + (h + d)))


def _first_above(sums: Floats, bound: np.float32) -> int:
    return min(int(np.searchsorted(sums, bound, side="right")), len(sums) - 1)


def _from_the_best(odds: Floats, top_p: np.float32, coin: np.float32) -> int:
    cutoff = (_F32(1) - top_p) / _F32(max(len(odds) - 1, 1))
    (kept,) = np.nonzero(odds >= cutoff)
    if not len(kept):
        return int(np.argmax(odds))
    kept = kept[np.argsort(-odds[kept], kind="stable")]
    sums = np.cumsum(odds[kept], dtype=_F32)
    sums = sums[: _first_above(sums, top_p) + 1]
    return int(kept[_first_above(sums, coin * sums[-1])])
