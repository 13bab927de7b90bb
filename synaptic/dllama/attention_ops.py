"""The operations that know positions, and the choice of experts. See ops."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np

from synaptic.dllama.angles import Angles
from synaptic.dllama.crew import alone
from synaptic.dllama.graph import (
    POSITIONS,
    SIZE_0,
    AttentionConfig,
    GraphError,
    MoeGateConfig,
    OpConfig,
    Pointer,
    RopeConfig,
    RopeSlice,
    RopeType,
    ShiftConfig,
    Source,
    View,
)
from synaptic.dllama.quants import Floats
from synaptic.dllama.setting import Built, Setting, Step, config_of

_SMALL = 1 << 18  # values of keys that one thread has read before it finds another


def rope(op: OpConfig, setting: Setting) -> Built:
    """In place. The positions of the slice do not matter, only where in its head a value is."""
    config, target = config_of(op, RopeConfig), setting.memory.operand(op.output)
    size, length = config.slice.head_dim, config.slice.seq_len
    if op.input != op.output or target.layers != 1 or size < 2 or size % 2 or target.columns % size:
        raise GraphError(f"turns rows of {target.columns} values in heads of {size}")
    _reach(setting, length, config.position_pipe)
    angles = _angles(config, setting)
    kernels = setting.compute.attention
    kernel = kernels.rotate_halves if config.type is RopeType.FALCON else kernels.rotate_pairs
    start, positions = (target.floats, target.start, target.step), setting.positions
    turn = partial(kernel, *start, angles.table, target.columns // size, size, positions)

    def step(rows: int) -> None:
        angles.reach(int(positions[0]) + rows)
        turn(rows)

    return Built(step)


def _angles(config: RopeConfig, setting: Setting) -> Angles:
    """The same for all layers, and for queries and keys."""
    of = config.slice
    model = RopeSlice(0, 0, 0, 0, 0, 0, 0, 0, of.seq_len, of.head_dim, 0, of.rope_theta, SIZE_0)
    key = dataclasses.replace(config, is_q=False, slice=model)
    if key not in setting.angles:
        setting.memory.claim(4 * config.slice.seq_len * config.slice.head_dim)
        setting.angles[key] = Angles(config, setting.compute)
    return setting.angles[key]


def shift(op: OpConfig, setting: Setting) -> Built:
    """Each row to its position in a cache."""
    config, source = config_of(op, ShiftConfig), setting.memory.operand(op.input)
    if op.output.view is not View.RAW or source.layers != 1:
        raise GraphError("shifts to something other than a whole buffer")
    cache, length, width = setting.memory.matrix(op.output)
    if width != source.columns:
        raise GraphError(f"rows of {source.columns} values to rows of {width}")
    _reach(setting, length, config.index_pipe)
    return Built(partial(setting.compute.attention.shift, source.floats, source.start, source.step, cache, width, setting.positions))


def attention(op: OpConfig, setting: Setting) -> Built:
    config, target = config_of(op, AttentionConfig), setting.memory.operand(op.output)
    heads, size = config.n_heads0, config.head_dim
    query = setting.memory.buffer(config.query_buffer)
    if size < 8 or size % 8 or heads < 1 or query.layers != 1 or target.layers != 1:
        raise GraphError(f"{heads} heads of {size} values")
    if not query.columns == target.columns == config.q_slice_d0 == heads * size:
        raise GraphError(f"{heads} heads of {size} values from rows of {query.columns} to rows of {target.columns}")
    keys, values = (_cache(index, config, setting) for index in (config.key_cache_buffer, config.value_cache_buffer))
    share = config.n_heads // max(config.n_kv_heads, 1)
    if share < 1 or ((heads - 1) // share + 1) * size > config.kv_dim0:
        raise GraphError(f"{heads} heads of {size}, of which {share} share keys that are {config.kv_dim0} wide")
    _reach(setting, config.seq_len, config.position_pipe)
    start = (query.floats, query.start, query.step, keys, values, target.floats, target.start, target.step)
    room = _scores(heads * config.seq_len, setting)
    part = partial(setting.compute.attention.attend, *start, room, size, share, config.kv_dim0, setting.positions)
    return Built(_attend(part, heads, config.kv_dim0, setting))


def _attend(part: Callable[..., None], heads: int, width: int, setting: Setting) -> Step:
    positions, crew = setting.positions, setting.crew

    def step(rows: int) -> None:
        share = crew.share if int(positions[0]) * rows * width >= _SMALL else alone
        share(part, heads, rows)

    return step


def _scores(count: int, setting: Setting) -> Floats:
    """Room for the scores of one row: operations run one after another, so they share it."""
    if len(setting.scores) < count:
        setting.memory.claim(4 * count)
        setting.scores = np.zeros(count, np.float32)
    return setting.scores


def _cache(index: int, config: AttentionConfig, setting: Setting) -> Floats:
    array, length, width = setting.memory.matrix(Pointer(Source.BUFFER, index, View.RAW))
    if (length, width) != (config.seq_len, config.kv_dim0):
        raise GraphError(f"a cache of {length} x {width}, where {config.seq_len} x {config.kv_dim0} belongs")
    return array


def moe_gate(op: OpConfig, setting: Setting) -> Built:
    """Input: a probability for each expert. Output: the share of each chosen one."""
    source, target = setting.operands(op)
    config = config_of(op, MoeGateConfig)
    indexes = setting.memory.buffer(config.indexes_buffer)
    if source.layers != 1 or target.columns != 1 or target.layers != config.k or not 0 < config.k <= source.columns:
        raise GraphError(f"{config.k} of {source.columns} experts, {target.layers} shares")
    if indexes.columns != config.k or indexes.layers != 1:
        raise GraphError(f"{config.k} experts, {indexes.columns} numbers")
    start = (source.floats, source.start, source.step, target.floats, target.start, target.step, target.layer)
    normal = bool(config.norm_topk)
    return Built(partial(setting.compute.attention.choose_experts, *start, indexes.floats, source.columns, config.k, normal))


def _reach(setting: Setting, length: int, pipe: int) -> None:
    """This operation knows `length` positions."""
    if pipe != POSITIONS:
        raise GraphError(f"positions from the pipe {pipe}")
    if length < 1 or length > 1 << 26:
        raise GraphError(f"a context of {length}")
    setting.horizon = min(setting.horizon, length)
