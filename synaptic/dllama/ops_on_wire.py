"""The config of an operation as bytes: plain C structs, little-endian. Those without fields are one byte of nothing."""

from __future__ import annotations

import struct

from synaptic.dllama import graph
from synaptic.dllama.graph import AttentionConfig, Config, FloatType, GraphError, NoConfig, OpCode, RopeConfig, RopeSlice, RopeType, Size3D

_FIELDS = {  # of those that are a struct of numbers
    OpCode.INV_RMS: (graph.InvRmsConfig, struct.Struct("<fI")),
    OpCode.RMS_NORM: (graph.RmsNormConfig, struct.Struct("<II")),
    OpCode.MATMUL: (graph.MatmulConfig, struct.Struct("<III")),
    OpCode.MULTIHEAD_ATT: (AttentionConfig, struct.Struct("<12I")),
    OpCode.MUL: (graph.MulConfig, struct.Struct("<I")),
    OpCode.SCALE: (graph.ScaleConfig, struct.Struct("<I")),
    OpCode.SHIFT: (graph.ShiftConfig, struct.Struct("<I")),
    OpCode.MOE_GATE: (graph.MoeGateConfig, struct.Struct("<III")),
}
_STRUCTS = dict(_FIELDS.values())
_ROPE = struct.Struct("<IIII fff I 11I f iIII QQQ")  # 120 bytes


def encode(config: Config) -> bytes:
    if isinstance(config, NoConfig):
        return b"\0"
    if isinstance(config, RopeConfig):
        return _rope(config)
    return _STRUCTS[type(config)].pack(*vars(config).values())


def decode(code: OpCode, raw: bytes) -> Config:
    """GraphError when these bytes are not for this operation."""
    if code is OpCode.ROPE:
        return _read_rope(_exactly(raw, _ROPE, code))
    if code in _FIELDS:
        made, layout = _FIELDS[code]
        config: Config = made(*_exactly(raw, layout, code))
        return config
    if len(raw) > 1:
        raise GraphError(f"{len(raw)} bytes of config for {code.name}")
    return NoConfig()


def _exactly(raw: bytes, layout: struct.Struct, code: OpCode) -> tuple[int | float, ...]:
    if len(raw) != layout.size:
        raise GraphError(f"{len(raw)} bytes of config for {code.name}, which takes {layout.size}")
    return layout.unpack(raw)


def _rope(config: RopeConfig) -> bytes:
    *head, part = vars(config).values()
    *numbers, size = vars(part).values()
    return _ROPE.pack(*head, *numbers, size.type, size.z, size.y, size.x, size.length, size.n_bytes, size.n_bytes_xy)


def _read_rope(fields: tuple[int | float, ...]) -> RopeConfig:
    kind, is_q, position_pipe, cache = (int(each) for each in fields[:4])
    factor, low, high = fields[4:7]
    *numbers, theta = fields[8:20]
    float_type, z, y, x = (int(each) for each in fields[20:24])
    try:
        size = Size3D(FloatType(float_type), z, y, x)
        rope_type = RopeType(kind)
    except ValueError:
        raise GraphError(f"rope of type {kind} with a cache of type {float_type}") from None
    part = RopeSlice(*map(int, numbers), theta, size)  # type: ignore[arg-type, call-arg]  # eleven numbers, by _ROPE
    return RopeConfig(rope_type, bool(is_q), position_pipe, cache, factor, low, high, int(fields[7]), part)
