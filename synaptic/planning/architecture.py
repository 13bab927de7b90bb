"""How a model is built, as its config.json says, and what follows of bytes and work. Values only."""

from __future__ import annotations

import dataclasses

from synaptic.planning.costmodel import EFFICIENCY, K_QUANTS

BITS = {"awq": 4.16, "gptq": 4.16, "fp8": 8.0}  # of a weight, the scales of groups of 128 among them; else 16


@dataclasses.dataclass(frozen=True)
class Architecture:
    """As a model's config.json says. `quantization` None: 16 bits."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    quantization: str | None = None
    experts: int = 1
    experts_used: int = 1

    @property
    def layer_parameters(self) -> int:
        """Of one layer, all its experts counted."""
        return self._attention + self.experts * self._expert

    @property
    def layer_bytes(self) -> float:
        return self.layer_parameters * self.bits / 8

    @property
    def read_bytes(self) -> float:
        """Of one layer, for one token."""
        return self._active * self.bits / 8

    @property
    def flop(self) -> float:
        """Of one layer, for one token."""
        return 2.0 * self._active

    @property
    def end_bytes(self) -> int:
        """Of the embedding, and as many of the output: neither is quantized."""
        return 2 * self.vocabulary * self.hidden

    @property
    def bits(self) -> float:
        return BITS.get(self.quantization or "", 16.0)

    @property
    def bytes(self) -> float:
        return self.layers * self.layer_bytes + 2 * self.end_bytes

    @property
    def efficiency(self) -> float:
        """The part of a memory's bandwidth that weights of this kind are read with, as measured elsewhere; vLLM's own was not."""
        return K_QUANTS if self.bits < 8 else EFFICIENCY["Q8_0"] if self.bits < 16 else EFFICIENCY["F16"]

    def kv_bytes(self, tensor: int) -> int:
        """Of one token in one layer, on each of `tensor` accelerators: they hold a KV head at least."""
        return 2 * 2 * max(self.kv_heads // tensor, 1) * self.head_dim

    @property
    def _attention(self) -> int:
        return 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)

    @property
    def _expert(self) -> int:
        return 3 * self.hidden * self.intermediate

    @property
    def _active(self) -> int:
        return self._attention + self.experts_used * self._expert
