"""
What one node holds of a model: the widths of its share and the buffers it computes in, in the order of the real root.

A node has its share of the heads and of the hidden values in every layer (`n_parts`, `part`), or, with one part, whole
layers.
"""

from __future__ import annotations

import dataclasses

from synaptic.dllama.graph import Buffer, FloatType, GraphError, Pointer, Size3D, Source, View
from synaptic.dllama.header import DllamaHeader

MOST_ROWS = 32  # of a pass; the real root's is fixed
_SUPPORTED = {"Q40": (FloatType.Q40, FloatType.Q80), "F32": (FloatType.F32, FloatType.F32)}  # weights, activations


@dataclasses.dataclass(frozen=True)
class Share:
    """Of the layers `first` up to `last`, without it. `context`: tokens that the caches hold."""

    header: DllamaHeader
    n_parts: int
    part: int
    context: int
    rows: int
    first: int
    last: int

    def __post_init__(self) -> None:
        """GraphError when the model cannot be cut like this."""
        header, n = self.header, self.n_parts
        if header.quantization not in _SUPPORTED or (header.experts and header.quantization == "F32"):
            raise GraphError(f"has {header.quantization} weights, which distributed-llama cannot compute with here; Q40 it can")
        if n > header.kv_heads:
            raise GraphError(f"has {header.kv_heads} KV heads, which is too few for {n} nodes; layers can go over any number of nodes")
        for what, count in (("heads", header.heads), ("KV heads", header.kv_heads), ("hidden values", self.whole_hidden)):
            if count % n:
                raise GraphError(f"has {count} {what}, which cannot be shared among {n} nodes")
        if header.vocabulary % n or any(width % self.activations.block[0] for width in (header.dim, self.wide, self.hidden)):
            raise GraphError(f"has sizes that cannot be shared among {n} nodes")

    @property
    def weights(self) -> FloatType:
        return _SUPPORTED[self.header.quantization][0]

    @property
    def activations(self) -> FloatType:
        """Of what is multiplied with weights, and of what goes from node to node."""
        return _SUPPORTED[self.header.quantization][1]

    @property
    def is_quantized(self) -> bool:
        return self.activations is not FloatType.F32

    @property
    def whole_wide(self) -> int:
        """Values of all query heads."""
        return self.header.head_dim * self.header.heads

    @property
    def whole_hidden(self) -> int:
        return self.header.moe_hidden_dim if self.header.architecture == "qwen3moe" else self.header.hidden_dim

    @property
    def wide(self) -> int:
        return self.whole_wide // self.n_parts

    @property
    def narrow(self) -> int:
        """Values of this share's KV heads."""
        return self.header.head_dim * self.header.kv_heads // self.n_parts

    @property
    def hidden(self) -> int:
        return self.whole_hidden // self.n_parts

    @property
    def vocabulary(self) -> int:
        return self.header.vocabulary // self.n_parts

    @property
    def has_halves(self) -> bool:
        return self.header.rope_type == 1

    @property
    def rope_width(self) -> int:
        """Of the cache of sines and cosines."""
        if self.has_halves:
            return self.header.head_dim
        return self.wide * (self.part + 1) - self.narrow * self.part

    def size(self, width: int, kind: FloatType = FloatType.F32, *, z: int = 1) -> Size3D:
        return Size3D(kind, z, self.rows, width)

    def cache(self, width: int) -> Size3D:
        return Size3D(FloatType.F32, 1, self.context, width)


@dataclasses.dataclass(frozen=True)
class Buffers:
    """The buffers of a share, found by name. `_cast` of a name: where it is kept for a multiplication."""

    share: Share
    all: tuple[Buffer, ...]

    def at(self, name: str) -> int:
        return self._index[name]

    def of(self, name: str, view: View = View.BATCH) -> Pointer:
        return Pointer(Source.BUFFER, self.at(name), view)

    def cast(self, name: str) -> Pointer:
        return self.of(f"q_{name}" if self.share.is_quantized else name)

    def keys(self, layer: int) -> int:
        return self._first_cache + 2 * (layer - self.share.first)

    def values(self, layer: int) -> int:
        return self.keys(layer) + 1

    @property
    def _first_cache(self) -> int:
        return self.at("k")

    @property
    def _index(self) -> dict[str, int]:
        return {buffer.name: index for index, buffer in reversed(list(enumerate(self.all)))}


def buffers(share: Share, *, extra: tuple[Buffer, ...] = ()) -> Buffers:
    """`extra` come last."""
    caches = [Buffer(name, share.cache(share.narrow)) for _ in range(share.first, share.last) for name in ("k", "v")]
    return Buffers(share, (*_attention(share), *_feed_forward(share), *_experts(share), *caches, *extra))


def _attention(share: Share) -> list[Buffer]:
    header, kind = share.header, share.activations
    columns = max(share.wide, share.narrow) // header.head_dim if header.architecture != "llama" else 1
    found = [Buffer("x", share.size(header.dim)), Buffer("y", share.size(header.dim))]
    found += [Buffer("q_y", share.size(header.dim, kind))] if share.is_quantized else []
    found += [Buffer("z", share.size(share.whole_wide)), Buffer("q_z_slice", share.size(share.wide, kind))]
    found += [Buffer("q", share.size(share.wide)), Buffer("k_temp", share.size(share.narrow)), Buffer("v_temp", share.size(share.narrow))]
    found += [Buffer("inv_rms", share.size(columns)), Buffer("rope_cache", share.cache(share.rope_width))]
    return [*found, Buffer("att", share.size(header.heads // share.n_parts * share.context))]


def _feed_forward(share: Share) -> list[Buffer]:
    found = [Buffer("lg", share.size(share.vocabulary)), Buffer("d", share.size(share.hidden))]
    found += [Buffer("q_d", share.size(share.hidden, share.activations))] if share.is_quantized else []
    return [*found, Buffer("l", share.size(share.hidden))]


def _experts(share: Share) -> list[Buffer]:
    """There for every architecture, as in the real root."""
    header, kind, active = share.header, share.activations, max(share.header.active_experts, 1)
    found = [Buffer("gt", share.size(max(header.experts, 1))), Buffer("act_exp_ix", share.size(active))]
    found += [Buffer("moe_y", share.size(header.dim, z=active))]
    found += [Buffer("q_moe_y", share.size(header.dim, kind, z=active))] if share.is_quantized else []
    found += [Buffer("moe_d", share.size(share.hidden, z=active))]
    found += [Buffer("q_moe_d", share.size(share.hidden, kind, z=active))] if share.is_quantized else []
    return [*found, Buffer("moe_l", share.size(share.hidden, z=active)), Buffer("moe_s", share.size(1, z=active))]
