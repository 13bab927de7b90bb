"""
What a distributed-llama root tells a worker: pipes, buffers, and the operations between them. Values only.

A node runs its segments one after another; a segment runs its operations, then its syncs, which send rows of a pipe to
the other nodes and fetch theirs. Pipes are shared between nodes, buffers are a node's own. In memory, both are what
goes over the wire: C-contiguous, (z, y, x) values of their float type, Q80 as blocks of 34 bytes.

`wire` writes and reads these (floats are the wire's 32-bit ones); `builder` makes them for a model; the executor runs
them, or raises GraphError.
"""

from __future__ import annotations

import dataclasses
import enum

ROOT = 0  # the index of the root's node
POSITIONS = 0  # the pipe into which a node writes the positions of a batch, whatever the root meant it for


class GraphError(ValueError):
    """The graph, or a weight for it, cannot be run here. Says why, in words that follow what the root sent."""


class FloatType(enum.IntEnum):
    NONE = -1
    F32 = 0
    F16 = 1
    Q40 = 2
    Q80 = 3

    @property
    def block(self) -> tuple[int, int]:
        """Values, and the bytes that they take."""
        return _BLOCKS[self]

    def bytes_of(self, count: int) -> int:
        """GraphError when `count` values are no whole blocks."""
        values, size = _BLOCKS[self]
        if count % values:
            raise GraphError(f"{count} values are no whole blocks of {self.name}")
        return count // values * size


_BLOCKS = {FloatType.NONE: (1, 0), FloatType.F32: (1, 4), FloatType.F16: (1, 2), FloatType.Q40: (32, 18), FloatType.Q80: (32, 34)}


class Source(enum.IntEnum):
    PIPE = 0
    BUFFER = 1


class View(enum.IntEnum):
    """What an operation sees of a pipe or buffer: all of it; one row per token; this node's share of each row."""

    RAW = 0
    BATCH = 1
    BATCHED_SLICE = 2


class SyncType(enum.IntEnum):
    WITH_ROOT = 0  # the root's rows to every worker
    NODE_SLICES = 1  # everybody's slice of each row to everybody
    NODE_SLICES_EXCEPT_ROOT = 2  # the workers' slices of each row to the root


class OpCode(enum.IntEnum):
    MERGE_ADD = 0
    MERGE_SUM = 1
    EMBEDDING = 2
    INV_RMS = 3
    RMS_NORM = 4
    MATMUL = 5
    ROPE = 6
    MULTIHEAD_ATT = 7
    GELU = 8
    SILU = 9
    MUL = 10
    SCALE = 11
    CAST = 12
    REPEAT_Z = 13
    SHIFT = 14
    SOFTMAX = 15
    MOE_GATE = 16


class RopeType(enum.IntEnum):
    LLAMA = 0  # pairs side by side
    FALCON = 1  # halves
    LLAMA3_1 = 2  # as LLAMA, with scaling


@dataclasses.dataclass(frozen=True)
class Size3D:
    """For a matrix weight y is its input and x its output: x rows of y values lie one after another, z times."""

    type: FloatType
    z: int
    y: int
    x: int

    @property
    def length(self) -> int:
        return self.z * self.y * self.x

    @property
    def n_bytes(self) -> int:
        return self.type.bytes_of(self.length)

    @property
    def n_bytes_xy(self) -> int:
        return self.type.bytes_of(self.y * self.x)

    @property
    def row_bytes(self) -> int:
        """Of x values: a row of a pipe or buffer. Not of a matrix weight."""
        return self.type.bytes_of(self.x)


SIZE_0 = Size3D(FloatType.NONE, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Pipe:
    name: str
    size: Size3D


@dataclasses.dataclass(frozen=True)
class Buffer:
    name: str
    size: Size3D


@dataclasses.dataclass(frozen=True)
class Pointer:
    source: Source
    index: int
    view: View


@dataclasses.dataclass(frozen=True)
class NoConfig:
    """One byte without a meaning: of MERGE_ADD, MERGE_SUM, EMBEDDING, GELU, SILU, CAST, REPEAT_Z, SOFTMAX."""


@dataclasses.dataclass(frozen=True)
class InvRmsConfig:
    epsilon: float
    n_columns: int


@dataclasses.dataclass(frozen=True)
class RmsNormConfig:
    inv_rms_buffer: int
    n_columns: int


@dataclasses.dataclass(frozen=True)
class MatmulConfig:
    """Without experts 0, 0; the buffer is named all the same, and not read."""

    n_experts: int
    n_active_experts: int
    active_expert_indexes_buffer: int


@dataclasses.dataclass(frozen=True)
class RopeSlice:
    """With FALCON, q_dim_start, q_dim_end, q_shift, kv_dim_start and slice_dim are whatever lay in the root's memory."""

    q_dim0: int
    q_dim_start: int
    q_dim_end: int
    q_shift: int
    kv_dim: int
    kv_dim0: int
    kv_dim_start: int
    slice_dim: int
    seq_len: int
    head_dim: int
    n_kv_heads: int
    rope_theta: float
    cache_size: Size3D


@dataclasses.dataclass(frozen=True)
class RopeConfig:
    type: RopeType
    is_q: bool
    position_pipe: int
    rope_cache_buffer: int
    scaling_factor: float
    scaling_low_freq_factor: float
    scaling_high_freq_factor: float
    scaling_orig_max_seq_len: int
    slice: RopeSlice


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    n_heads: int
    n_heads0: int  # on this node
    n_kv_heads: int
    head_dim: int
    seq_len: int
    q_slice_d0: int
    kv_dim0: int
    position_pipe: int
    query_buffer: int
    key_cache_buffer: int
    value_cache_buffer: int
    att_buffer: int


@dataclasses.dataclass(frozen=True)
class MulConfig:
    multiplier_buffer: int


@dataclasses.dataclass(frozen=True)
class ScaleConfig:
    scale_buffer: int


@dataclasses.dataclass(frozen=True)
class ShiftConfig:
    index_pipe: int


@dataclasses.dataclass(frozen=True)
class MoeGateConfig:
    k: int
    norm_topk: int
    indexes_buffer: int


_Plain = NoConfig | InvRmsConfig | RmsNormConfig | MulConfig | ScaleConfig | ShiftConfig
Config = _Plain | MatmulConfig | RopeConfig | AttentionConfig | MoeGateConfig


@dataclasses.dataclass(frozen=True)
class OpConfig:
    """`index`: the layer. Weights are sent to the first operation with their name and index."""

    code: OpCode
    name: str
    index: int
    weight: Size3D  # SIZE_0: none
    input: Pointer
    output: Pointer
    config: Config


@dataclasses.dataclass(frozen=True)
class Sync:
    pipe: int
    type: SyncType


@dataclasses.dataclass(frozen=True)
class Segment:
    ops: tuple[OpConfig, ...]
    syncs: tuple[Sync, ...]


@dataclasses.dataclass(frozen=True)
class NetConfig:
    n_batches: int  # rows that a pipe holds: the most tokens of one pass
    n_nodes: int
    pipes: tuple[Pipe, ...]
    pre_syncs: tuple[int, ...] = ()  # pipes; announced, never done


@dataclasses.dataclass(frozen=True)
class NodeConfig:
    node_index: int
    buffers: tuple[Buffer, ...]
    segments: tuple[Segment, ...]


@dataclasses.dataclass(frozen=True)
class WeightMessage:
    """
    Bytes for the weight of the operation `name`, `index`, from byte `offset` of it. Experts follow one another.

    A worker loads a long message in pieces as it comes in: every piece but the last is whole groups of 32 rows.
    `data` is the caller's again when load returns.
    """

    name: str
    index: int
    offset: int
    data: memoryview | bytes
