"""
The operations of a layer, as the real root lists them: names, order and operands are the wire's.

Between the halves of a layer lies a merge: `partial` is where a node puts its part of the sum, `merged` where it finds
everybody's.
"""

from __future__ import annotations

import dataclasses

from synaptic.dllama.graph import (
    SIZE_0,
    AttentionConfig,
    Config,
    FloatType,
    InvRmsConfig,
    MatmulConfig,
    MoeGateConfig,
    MulConfig,
    NoConfig,
    OpCode,
    OpConfig,
    Pointer,
    RmsNormConfig,
    RopeConfig,
    RopeSlice,
    RopeType,
    ScaleConfig,
    ShiftConfig,
    Size3D,
    View,
)
from synaptic.dllama.shares import Buffers, Share

POSITION_PIPE = 0


@dataclasses.dataclass(frozen=True)
class Blocks:
    """`heads_view`: how the heads' results are seen, a slice of all heads' or, where one node has all of them, all."""

    buffers: Buffers
    partial: Pointer
    merged: Pointer
    heads_view: View

    @property
    def share(self) -> Share:
        return self.buffers.share

    def attention(self, layer: int, entrance: OpConfig) -> tuple[OpConfig, ...]:
        at, share = self.buffers.of, self.share
        y, heads = self.buffers.cast("y"), at("z", self.heads_view)
        found = [entrance, *self.norm("block_norm_pre_0", "block_norm_0", layer), *self.cast_if_quantized("block_cast_y", "y", layer)]
        found += [
            self.matmul("block_matmul_q", layer, share.header.dim, share.wide, y, at("q")),
            self.matmul("block_matmul_k", layer, share.header.dim, share.narrow, y, at("k_temp")),
            self.matmul("block_matmul_v", layer, share.header.dim, share.narrow, y, at("v_temp")),
        ]
        if share.header.architecture != "llama":
            found += [*self._head_norm("q", "q", share.wide, layer), *self._head_norm("k", "k_temp", share.narrow, layer)]
        found += [self._rope("block_rope_q", "q", layer, is_q=True), self._rope("block_rope_k", "k_temp", layer, is_q=False)]
        for name, source, target in (("k", "k_temp", self.buffers.keys(layer)), ("v", "v_temp", self.buffers.values(layer))):
            cache = dataclasses.replace(at(source, View.RAW), index=target)
            found.append(operation(OpCode.SHIFT, f"block_shift_{name}", layer, at(source), cache, ShiftConfig(POSITION_PIPE)))
        found.append(operation(OpCode.MULTIHEAD_ATT, "block_multihead_att", layer, heads, heads, self._attention_config(layer)))
        found.append(operation(OpCode.CAST, "block_cast_y2", layer, heads, at("q_z_slice")))
        found.append(self.matmul("block_matmul_wo", layer, share.wide, share.header.dim, at("q_z_slice"), at("y")))
        found.append(operation(OpCode.CAST, "block_cast_d", layer, at("y"), self.partial))
        return tuple(found)

    def feed_forward(self, layer: int) -> tuple[OpConfig, ...]:
        merge = operation(OpCode.MERGE_ADD, "block_merge_add2", layer, self.merged, self.buffers.of("x"))
        inner = self._experts(layer) if self.share.header.experts else self._dense(layer)
        leave = operation(OpCode.CAST, "block_cast_d3", layer, self.buffers.of("y"), self.partial)
        return (merge, *self.norm("block_norm_pre_1", "block_norm_1", layer), *inner, leave)

    def head(self) -> tuple[OpConfig, ...]:
        """From the normal sum to the logits, in their buffer."""
        header = self.share.header
        weight = Size3D(self.share.weights, 1, header.dim, self.share.vocabulary)
        found = [*self.norm("final_norm_pre", "final_norm", 0), *self.cast_if_quantized("final_cast_y", "y", 0)]
        logits = (self.buffers.cast("y"), self.buffers.of("lg"))
        return (*found, operation(OpCode.MATMUL, "final_matmul_logits", 0, *logits, MatmulConfig(0, 0, 0), weight))

    def merge(self, name: str, layer: int) -> OpConfig:
        return operation(OpCode.MERGE_ADD, name, layer, self.merged, self.buffers.of("x"))

    def norm(self, before: str, name: str, layer: int) -> tuple[OpConfig, ...]:
        at, header = self.buffers.of, self.share.header
        weight = Size3D(FloatType.F32, 1, 1, header.dim)
        return (
            operation(OpCode.INV_RMS, before, layer, at("x"), at("inv_rms"), InvRmsConfig(header.norm_epsilon, 1)),
            operation(OpCode.RMS_NORM, name, layer, at("x"), at("y"), RmsNormConfig(self.buffers.at("inv_rms"), 1), weight),
        )

    def cast_if_quantized(self, name: str, buffer: str, layer: int) -> tuple[OpConfig, ...]:
        if not self.share.is_quantized:
            return ()
        return (operation(OpCode.CAST, name, layer, self.buffers.of(buffer), self.buffers.cast(buffer)),)

    def matmul(self, name: str, layer: int, columns: int, rows: int, source: Pointer, target: Pointer, *, experts: int = 0) -> OpConfig:
        weight = Size3D(self.share.weights, max(experts, 1), columns, rows)
        active = self.share.header.active_experts if experts else 0
        config = MatmulConfig(experts, active, self.buffers.at("act_exp_ix"))
        return operation(OpCode.MATMUL, name, layer, source, target, config, weight)

    def _head_norm(self, letter: str, buffer: str, width: int, layer: int) -> tuple[OpConfig, ...]:
        at, header, heads = self.buffers.of, self.share.header, width // self.share.header.head_dim
        weight = Size3D(FloatType.F32, 1, 1, header.head_dim)
        before, config = InvRmsConfig(header.norm_epsilon, heads), RmsNormConfig(self.buffers.at("inv_rms"), heads)
        return (
            operation(OpCode.INV_RMS, f"block_norm_pre_{letter}", layer, at(buffer), at("inv_rms"), before),
            operation(OpCode.RMS_NORM, f"block_norm_{letter}", layer, at(buffer), at(buffer), config, weight),
        )

    def _rope(self, name: str, buffer: str, layer: int, *, is_q: bool) -> OpConfig:
        header = self.share.header
        scaling = (header.rope_scaling, header.rope_low_frequency, header.rope_high_frequency, header.rope_original_context)
        cache = self.buffers.at("rope_cache")
        config = RopeConfig(RopeType(header.rope_type), is_q, POSITION_PIPE, cache, *scaling, _rope_slice(self.share))
        return operation(OpCode.ROPE, name, layer, self.buffers.of(buffer), self.buffers.of(buffer), config)

    def _attention_config(self, layer: int) -> AttentionConfig:
        header, share, at = self.share.header, self.share, self.buffers
        heads = (header.heads, header.heads // share.n_parts, header.kv_heads, header.head_dim)
        places = (POSITION_PIPE, at.at("q"), at.keys(layer), at.values(layer), at.at("att"))
        return AttentionConfig(*heads, share.context, share.wide, share.narrow, *places)

    def _dense(self, layer: int) -> list[OpConfig]:
        at, dim, hidden = self.buffers.of, self.share.header.dim, self.share.hidden
        y = self.buffers.cast("y")
        return [
            *self.cast_if_quantized("block_cast_y3", "y", layer),
            self.matmul("block_matmul_w1", layer, dim, hidden, y, at("d")),
            self.matmul("block_matmul_w3", layer, dim, hidden, y, at("l")),
            operation(OpCode.SILU, "block_act", layer, at("d"), at("d")),
            operation(OpCode.MUL, "block_mul", layer, at("d"), at("d"), MulConfig(self.buffers.at("l"))),
            *self.cast_if_quantized("block_cast_d2", "d", layer),
            self.matmul("block_matmul_w2", layer, hidden, dim, self.buffers.cast("d"), at("y")),
        ]

    def _experts(self, layer: int) -> list[OpConfig]:
        at, header, hidden = self.buffers.of, self.share.header, self.share.hidden
        chosen, gate = self.buffers.at("act_exp_ix"), Size3D(FloatType.F32, 1, header.dim, header.experts)
        y, d, many = self.buffers.cast("moe_y"), at("moe_d"), header.experts
        choice = MoeGateConfig(header.active_experts, 1, chosen)
        return [
            operation(OpCode.REPEAT_Z, "block_moe_y_repeat", layer, at("y"), y),
            operation(OpCode.MATMUL, "block_moe_gate", layer, at("y"), at("gt"), MatmulConfig(0, 0, chosen), gate),
            operation(OpCode.SOFTMAX, "block_moe_softmax", layer, at("gt"), at("gt")),
            operation(OpCode.MOE_GATE, "block_moe_gate2", layer, at("gt"), at("moe_s"), choice),
            self.matmul("block_matmul_w1", layer, header.dim, hidden, y, d, experts=many),
            self.matmul("block_matmul_w3", layer, header.dim, hidden, y, at("moe_l"), experts=many),
            operation(OpCode.SILU, "block_act", layer, d, d),
            operation(OpCode.MUL, "block_mul", layer, d, d, MulConfig(self.buffers.at("moe_l"))),
            operation(OpCode.CAST, "block_cast_d2", layer, d, self.buffers.cast("moe_d")),
            self.matmul("block_matmul_w2", layer, hidden, header.dim, self.buffers.cast("moe_d"), at("moe_y"), experts=many),
            operation(OpCode.SCALE, "block_moe_scale", layer, at("moe_y"), at("moe_y"), ScaleConfig(self.buffers.at("moe_s"))),
            operation(OpCode.MERGE_SUM, "block_moe_merge_sum", layer, at("moe_y"), at("y")),
        ]


def operation(
    code: OpCode, name: str, layer: int, source: Pointer, target: Pointer, config: Config | None = None, weight: Size3D = SIZE_0
) -> OpConfig:
    return OpConfig(code, name, layer, weight, source, target, config or NoConfig())


def _rope_slice(share: Share) -> RopeSlice:
    header, kv_start, q_start = share.header, share.narrow * share.part, share.wide * share.part
    starts = (q_start, q_start + share.wide, q_start - kv_start)
    if share.has_halves:  # what the real root leaves as it is in its memory
        starts, kv_start = (0, 0, 0), 0
    kv = (header.head_dim * header.kv_heads, share.narrow, kv_start)
    width = 0 if share.has_halves else share.rope_width
    model = (share.context, header.head_dim, header.kv_heads)
    return RopeSlice(share.wide, *starts, *kv, width, *model, float(header.rope_theta), share.cache(share.rope_width))
