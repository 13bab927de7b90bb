"""The operations with matrices: tokens to rows, and rows times weights, with or without a choice of experts. See ops."""

from __future__ import annotations

from functools import partial
from typing import cast

from synaptic.dllama.crew import alone
from synaptic.dllama.graph import FloatType, GraphError, MatmulConfig, OpConfig
from synaptic.dllama.memory import Operand
from synaptic.dllama.quants import BLOCK, GROUP, Bytes
from synaptic.dllama.setting import Built, Setting, config_of
from synaptic.dllama.weights import float_weight

F32, Q40, Q80 = FloatType.F32, FloatType.Q40, FloatType.Q80

_FLOATS, _QUANTS = 1 << 19, 1 << 21  # multiplications in some 40 µs: two threads need 20 to find each other


def embedding(op: OpConfig, setting: Setting) -> Built:
    """A float that is no token ends the pass with a GraphError."""
    source, target = setting.operands(op)
    vocabulary = op.weight.y
    weight = float_weight(op.weight, 1, vocabulary, target.columns)
    if source.columns != 1 or source.layers != 1 or target.layers != 1 or vocabulary < 1 or target.type not in (F32, Q80):
        raise GraphError("looks up something other than one token for each row")
    kernel = setting.compute.rows.copy if target.type is F32 else setting.compute.rows.quantize
    tokens = source.floats

    def step(rows: int) -> None:
        for row in range(rows):
            token = tokens[source.start + row * source.step]
            if not 0 <= token < vocabulary:
                raise GraphError(f"the token {token} of {vocabulary}")
            kernel(weight.array, int(token) * target.columns, 0, target.array, target.start + row * target.step, 0, target.columns, 1)

    return Built(step, weight)


def matmul(op: OpConfig, setting: Setting) -> Built:
    """Floats by floats, or Q40 by Q80; the experts' only in Q40."""
    source, target = setting.operands(op)
    config = config_of(op, MatmulConfig)
    if source.layers != max(config.n_active_experts, 1) or target.layers != source.layers or target.type is not F32:
        raise GraphError(f"{source.layers} layers in, {target.layers} out, {config.n_active_experts} experts")
    if (op.weight.type, source.type) == (F32, F32) and not config.n_experts and source.layers == 1:
        return _floats(op, source, target, setting)
    if (op.weight.type, source.type) != (Q40, Q80):
        raise GraphError(f"{op.weight.type.name} by {source.type.name}, {config.n_experts} experts")
    return _experts(op, source, target, setting) if config.n_experts else _q40(op, source, target, setting)


def _floats(op: OpConfig, source: Operand, target: Operand, setting: Setting) -> Built:
    inputs, outputs = source.columns, target.columns
    if inputs % 8:
        raise GraphError(f"rows of {inputs} values, no multiple of 8")
    weight = setting.floats(op, 1, inputs, outputs)
    part = partial(setting.compute.matmul.matmul_floats, weight.array, *source.row(), *target.row(), inputs)
    crew = setting.crew

    def step(rows: int) -> None:
        share = crew.share if rows * inputs * outputs >= _FLOATS else alone
        share(part, outputs, rows)

    return Built(step, weight)


def _q40(op: OpConfig, source: Operand, target: Operand, setting: Setting) -> Built:
    blocks, outputs, groups = source.columns // BLOCK, target.columns, -(-target.columns // GROUP)
    weight = setting.q40(op, 1, source.columns, outputs)
    kernels, crew, scratch = setting.compute.matmul, setting.crew, setting.room(source)
    w, x, y = (weight.weights, weight.scales), (source.bytes, source.start, source.step), target.row()
    room = (scratch.starts, scratch.dx)
    prepare = partial(kernels.prepare, *x, *room, 0, blocks)
    one = partial(kernels.matmul_token, *w, *x[:2], *room, 0, blocks, *y[:2], outputs, scratch.spare, 0)
    many = partial(kernels.matmul_tokens, *w, *x, *room, blocks, *y, outputs, scratch.spare)
    each = source.columns * outputs

    def step(rows: int) -> None:
        prepare(rows > 1, rows)
        share = crew.share if rows * each >= _QUANTS else alone
        if rows > 1:
            share(many, groups, rows)
        else:
            share(one, groups)

    return Built(step, weight)


def _experts(op: OpConfig, source: Operand, target: Operand, setting: Setting) -> Built:
    config = config_of(op, MatmulConfig)
    count, k = config.n_experts, config.n_active_experts
    blocks, outputs, groups = source.columns // BLOCK, target.columns, -(-target.columns // GROUP)
    indexes = setting.memory.buffer(config.active_expert_indexes_buffer)
    if not 0 < k <= count or indexes.columns != k or indexes.layers != 1 or indexes.start:
        raise GraphError(f"{k} of {count} experts, {indexes.columns} numbers")
    weight = setting.q40(op, count, source.columns, outputs)
    kernels, scratch = setting.compute.matmul, setting.room(source)
    x, room = cast("tuple[Bytes, int, int]", source.row()), (scratch.starts, scratch.dx)
    prepare = [partial(kernels.prepare, *source.row(rank), *room) for rank in range(k)]
    sizes = (*target.row(), target.layer, outputs, scratch.spare, indexes.floats, count, k)
    part = partial(kernels.matmul_experts, weight.weights, weight.scales, *x, source.layer, *room, blocks, *sizes)

    work, crew = k * source.columns * outputs, setting.crew

    def step(rows: int) -> None:
        for rank, each in enumerate(prepare):
            each(rank * rows * blocks, blocks, False, rows)
        share = crew.share if rows * work >= _QUANTS else alone
        share(part, groups, rows)

    return Built(step, weight)
