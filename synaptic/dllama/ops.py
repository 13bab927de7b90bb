"""
What each operation of a graph does: checked once, then a Step that takes the number of rows and computes.

Kernels check nothing, so everything they rely on is checked here: types, sizes, that slices lie within rows. Positions
are checked by the executor, against `horizon`, before each pass. GraphError says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from synaptic.dllama import attention_ops, matmul_ops
from synaptic.dllama.graph import FloatType, GraphError, InvRmsConfig, MulConfig, OpCode, OpConfig, RmsNormConfig, ScaleConfig
from synaptic.dllama.memory import Operand
from synaptic.dllama.setting import Built, Setting, Step, config_of, in_order
from synaptic.dllama.weights import float_weight

F32, Q80 = FloatType.F32, FloatType.Q80


def build(op: OpConfig, setting: Setting) -> Built:
    """GraphError, with the operation's name."""
    try:
        return _BUILDERS[op.code](op, setting)
    except GraphError as error:
        raise GraphError(f"the operation {op.name!r}: {error}") from error


def _cast(op: OpConfig, setting: Setting) -> Built:
    source, target = setting.operands(op)
    _alike(source, target)
    return Built(in_order([_converted(setting, source, target, layer) for layer in range(source.layers)]))


def _repeat(op: OpConfig, setting: Setting) -> Built:
    """The only layer of floats becomes every layer of Q80: quantized once."""
    source, target = setting.operands(op)
    if source.layers != 1 or source.columns != target.columns or (source.type, target.type) != (F32, Q80):
        raise GraphError("repeats something other than one layer of floats, as Q80")
    first = target.row()
    copies = [partial(setting.compute.rows.copy, *first, *target.row(z), target.width) for z in range(1, target.layers)]
    return Built(in_order([_converted(setting, source, target, 0), *copies]))


def _converted(setting: Setting, source: Operand, target: Operand, layer: int) -> Step:
    rows = setting.compute.rows
    if source.type is target.type:
        return partial(rows.copy, *source.row(layer), *target.row(layer), source.width)
    kernel = {(F32, Q80): rows.quantize, (Q80, F32): rows.dequantize}.get((source.type, target.type))
    if kernel is None:
        raise GraphError(f"makes {target.type.name} of {source.type.name}")
    return partial(kernel, *source.row(layer), *target.row(layer), source.columns)


def _merge_add(op: OpConfig, setting: Setting) -> Built:
    source, target = setting.operands(op)
    if source.columns % target.columns or source.layers != 1 or target.layers != 1 or target.type is not F32:
        raise GraphError(f"adds rows of {source.columns} values to rows of {target.columns}")
    kernel = setting.compute.rows.add_floats if source.type is F32 else setting.compute.rows.add_quants
    array = source.floats if source.type is F32 else source.bytes
    if source.type is Q80 and target.columns % 32:
        raise GraphError(f"slices of {target.columns} values are no whole blocks")
    slices = source.columns // target.columns
    return Built(partial(kernel, array, source.start, source.step, *target.row(), target.columns, slices))


def _merge_sum(op: OpConfig, setting: Setting) -> Built:
    source, target = setting.operands(op)
    if source.columns != target.columns or target.layers != 1 or source.array is target.array:
        raise GraphError("sums layers of one width to another, or to itself")
    start = (source.floats, source.start, source.step, source.layer, target.floats, target.start, target.step)
    return Built(partial(setting.compute.rows.sum_layers, *start, source.layers, source.columns))


def _inverse_rms(op: OpConfig, setting: Setting) -> Built:
    source, target = setting.operands(op)
    config = config_of(op, InvRmsConfig)
    size = _group(source, config.n_columns)
    if target.columns < config.n_columns or source.layers != 1:
        raise GraphError(f"{config.n_columns} values for a row of {target.columns}")
    start = (source.floats, source.start, source.step, target.floats, target.start, target.step)
    return Built(partial(setting.compute.rows.inverse_rms, *start, size, config.n_columns, config.epsilon))


def _rms_norm(op: OpConfig, setting: Setting) -> Built:
    source, target = setting.operands(op)
    _alike(source, target)
    config = config_of(op, RmsNormConfig)
    inverse, size = setting.memory.buffer(config.inv_rms_buffer), _group(source, config.n_columns)
    if inverse.columns < config.n_columns or source.layers != 1 or target.type is not F32:
        raise GraphError(f"{inverse.columns} factors for {config.n_columns} groups")
    weight = float_weight(op.weight, 1, 1, size)
    floats = source if source.type is F32 else target  # Q80 becomes floats where the result will be
    start = (*floats.row(), inverse.floats, inverse.start, inverse.step, weight.array, *target.row())
    norm = partial(setting.compute.rows.rms_norm, *start, size, config.n_columns)
    return Built(norm if floats is source else in_order([_converted(setting, source, target, 0), norm]), weight)


def _group(source: Operand, groups: int) -> int:
    if groups < 1 or source.columns % (8 * groups):
        raise GraphError(f"rows of {source.columns} values are no {groups} groups of a multiple of 8")
    return source.columns // groups


def _activation(name: str) -> Callable[[OpConfig, Setting], Built]:
    def build(op: OpConfig, setting: Setting) -> Built:
        target, steps = _in_place(op, setting)
        kernel = getattr(setting.compute.attention if name == "softmax" else setting.compute.rows, name)
        return Built(in_order([*steps, *(partial(kernel, *target.row(z), target.columns) for z in range(target.layers))]))

    return build


def _multiply(op: OpConfig, setting: Setting) -> Built:
    target, steps = _in_place(op, setting)
    other = setting.memory.buffer(config_of(op, MulConfig).multiplier_buffer)
    _alike(other, target)
    kernel = setting.compute.rows.multiply
    return Built(in_order([*steps, *(partial(kernel, *other.row(z), *target.row(z), target.columns) for z in range(target.layers))]))


def _scale(op: OpConfig, setting: Setting) -> Built:
    """Each row of each layer by a number of its own."""
    target, steps = _in_place(op, setting)
    factors = setting.memory.buffer(config_of(op, ScaleConfig).scale_buffer)
    if factors.columns != 1 or factors.layers != target.layers or factors.type is not F32:
        raise GraphError(f"{factors.layers} x {factors.columns} factors for {target.layers} layers")
    kernel = setting.compute.rows.scale
    return Built(in_order([*steps, *(partial(kernel, *factors.row(z), *target.row(z), target.columns) for z in range(target.layers))]))


def _in_place(op: OpConfig, setting: Setting) -> tuple[Operand, list[Step]]:
    """The output, and how the input gets there."""
    source, target = setting.operands(op)
    _alike(source, target)
    if target.type is not F32 or source.type is not F32:
        raise GraphError(f"{target.type.name} where floats belong")
    if op.input == op.output:
        return target, []
    return target, [_converted(setting, source, target, layer) for layer in range(source.layers)]


def _alike(source: Operand, target: Operand) -> None:
    if (source.columns, source.layers) != (target.columns, target.layers):
        raise GraphError(f"{source.layers} x {source.columns} values in, {target.layers} x {target.columns} out")


_BUILDERS: dict[OpCode, Callable[[OpConfig, Setting], Built]] = {
    OpCode.MERGE_ADD: _merge_add,
    OpCode.MERGE_SUM: _merge_sum,
    OpCode.EMBEDDING: matmul_ops.embedding,
    OpCode.INV_RMS: _inverse_rms,
    OpCode.RMS_NORM: _rms_norm,
    OpCode.MATMUL: matmul_ops.matmul,
    OpCode.ROPE: attention_ops.rope,
    OpCode.MULTIHEAD_ATT: attention_ops.attention,
    OpCode.GELU: _activation("gelu"),
    OpCode.SILU: _activation("silu"),
    OpCode.MUL: _multiply,
    OpCode.SCALE: _scale,
    OpCode.CAST: _cast,
    OpCode.REPEAT_Z: _repeat,
    OpCode.SHIFT: attention_ops.shift,
    OpCode.SOFTMAX: _activation("softmax"),
    OpCode.MOE_GATE: attention_ops.moe_gate,
}
