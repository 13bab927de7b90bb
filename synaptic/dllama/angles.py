"""How far values turn at each position, as the x86 build of distributed-llama rounds it."""

from __future__ import annotations

import numpy as np

from synaptic.dllama.compute import Compute
from synaptic.dllama.graph import RopeConfig, RopeType
from synaptic.dllama.quants import Floats
from synaptic.dllama.twins import fused

_1, _2 = np.float32(1), np.float32(2)
_AT_ONCE = 512  # positions


class Angles:
    """`table`, flat: for each position a cosine and a sine for each pair of a head; worked out as far as it is needed."""

    def __init__(self, config: RopeConfig, compute: Compute) -> None:
        self._frequencies, self._turns = _frequencies(config, compute), compute.attention.turns
        self._length, self._known = config.slice.seq_len, 0
        self.table: Floats = np.zeros(self._length * len(self._frequencies) * 2, np.float32)

    def reach(self, position: int) -> None:
        """Before positions up to `position`, without it, are used."""
        if position > self._known:
            known = min(max(position, self._known + _AT_ONCE), self._length)
            self._turns(self._frequencies, self.table, self._known, known)
            self._known = known


def _frequencies(config: RopeConfig, compute: Compute) -> Floats:
    size = config.slice.head_dim
    if config.type is RopeType.FALCON:
        exponents = _2 * (np.arange(size // 2, dtype=np.float32) / np.float32(size))
    else:
        exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    powers = np.empty_like(exponents)
    compute.attention.powers(config.slice.rope_theta, exponents, powers)
    with np.errstate(all="ignore"):  # a hostile base gives nonsense, not warnings
        frequencies = np.divide(_1, powers, dtype=np.float32)
        is_scaled = config.type is not RopeType.FALCON and config.scaling_factor != 1
        return _scaled(frequencies, config) if is_scaled else frequencies


def _scaled(frequencies: Floats, config: RopeConfig) -> Floats:
    """Llama 3.1: long waves are stretched, short ones stay, those between are blended."""
    factor, low, high, original = (
        np.float32(each)
        for each in (
            config.scaling_factor,
            config.scaling_low_freq_factor,
            config.scaling_high_freq_factor,
            config.scaling_orig_max_seq_len,
        )
    )
    waves = (2 * np.pi / frequencies.astype(np.float64)).astype(np.float32)
    blend = (original / waves - low) / (high - low)
    between = fused(blend, frequencies, (_1 - blend) * frequencies / factor)
    return np.where(waves < original / high, frequencies, np.where(waves > original / low, frequencies / factor, between))
