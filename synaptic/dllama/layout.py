"""
Where each tensor of a distributed-llama model (.m) lies in the file, and which bytes of it each node gets.

    embedding F32 · layers · final_norm F32 · classifier            nothing between them, nothing aligned
    a layer: q, k, v, wo · w1, w2, w3 (with experts: gate F32, then w1, w2, w3 of each) · Qwen3: q norm, k norm F32
             · norm_0, norm_1 F32

A matrix is (outputs, inputs), row after row. Node i of n gets the i-th n-th of the rows (contiguous) or, of `wo` and
`w2`, of the columns (strided); gate and norms whole; the embedding is the root's alone. Pure; no file is opened here.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Iterator

from synaptic.dllama.header import DllamaHeader, NotAModelError

MOST_TENSORS = 200_000  # a mixture of 128 experts and 94 layers has 37 thousand
BLOCKS = {"F32": (1, 4), "F16": (1, 2), "Q40": (32, 18), "Q80": (32, 34)}  # values, and the bytes that they take
OF_EXPERTS = ("block_matmul_w1", "block_matmul_w2", "block_matmul_w3")
_F32 = "F32"


class Cut(enum.Enum):
    ROOT = "root"
    ROWS = "rows"
    COLUMNS = "columns"
    WHOLE = "whole"


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """`name` and `index` are those of its operation in the graph; experts share one, and follow one another in it."""

    name: str
    index: int  # the layer; 0 outside
    kind: str
    rows: int
    columns: int
    offset: int  # in the file
    cut: Cut
    expert: int = 0

    @property
    def row_bytes(self) -> int:
        return bytes_of(self.kind, self.columns)

    @property
    def bytes(self) -> int:
        return self.rows * self.row_bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """`runs` times `run` bytes of the file, the first at `start`, each `stride` after the one before. `at`: in the operation's weight."""

    start: int
    run: int
    runs: int
    stride: int
    at: int

    @property
    def bytes(self) -> int:
        return self.run * self.runs


def bytes_of(kind: str, count: int) -> int:
    """Of `count` values; NotAModelError when they are no whole blocks."""
    values, size = BLOCKS[kind]
    if count % values:
        raise NotAModelError(f"has rows of {count} values, which are no whole blocks of {kind}")
    return count // values * size


@functools.lru_cache(maxsize=4)
def tensors(header: DllamaHeader) -> tuple[Tensor, ...]:
    """In the order of the file; the last ends at its end. NotAModelError for a shape that no file can have."""
    each = 8 + 3 * max(header.experts, 1) + 1
    if each * header.layers > MOST_TENSORS:
        raise NotAModelError(f"claims {header.layers} layers of {each} tensors")
    found, offset = [], header.header_bytes
    for tensor in _in_order(header):
        tensor = dataclasses.replace(tensor, offset=offset)
        offset += tensor.bytes
        found.append(tensor)
        if tensor.bytes == 0:
            raise NotAModelError(f"claims an empty tensor: {tensor.name}")
    if offset != header.expected_bytes:
        raise NotAModelError("claims a shape that no model has")
    return tuple(found)


def slice_of(tensor: Tensor, node: int, nodes: int) -> Slice | None:
    """What node `node` of `nodes` gets, 0 being the root; None: nothing. NotAModelError when it cannot be cut so."""
    if not 0 <= node < nodes:
        raise ValueError(f"there is no node {node} of {nodes}")
    if tensor.cut is Cut.WHOLE or (tensor.cut is Cut.ROOT and node == 0) or (nodes == 1 and node == 0):
        return Slice(tensor.offset, tensor.bytes, 1, tensor.bytes, tensor.expert * tensor.bytes)
    if tensor.cut is Cut.ROOT:
        return None
    among = tensor.rows if tensor.cut is Cut.ROWS else tensor.columns
    if among % nodes:
        raise NotAModelError(f"cannot be cut into {nodes}: {tensor.name} has {among} {tensor.cut.value}")
    part = tensor.bytes // nodes
    if tensor.cut is Cut.ROWS:
        return Slice(tensor.offset + node * part, part, 1, part, tensor.expert * part)
    run = bytes_of(tensor.kind, tensor.columns // nodes)
    return Slice(tensor.offset + node * run, run, tensor.rows, tensor.row_bytes, tensor.expert * part)


def weight_bytes(header: DllamaHeader, node: int, nodes: int) -> int:
    """Of all weights that a node holds."""
    slices = (slice_of(tensor, node, nodes) for tensor in tensors(header))
    return sum(each.bytes for each in slices if each)


def kv_bytes(header: DllamaHeader, nodes: int, context: int | None = None) -> int:
    """Of a node's cache of keys and values, which are F32, for `context` tokens."""
    return 2 * 4 * min(context or header.context, header.context) * header.layers * header.kv_heads * header.head_dim // nodes


def uncuttable(header: DllamaHeader, nodes: int) -> str | None:
    """Why the model cannot be cut into `nodes`, in words that follow its name; None: it can."""
    if nodes > header.kv_heads:
        return f"has {header.kv_heads} KV heads, too few for {nodes} nodes"
    if header.heads % nodes or header.kv_heads % nodes:
        return f"has {header.heads} heads and {header.kv_heads} KV heads, which do not divide by {nodes}"
    try:
        for tensor in tensors(header):
            slice_of(tensor, 0, nodes)
    except NotAModelError as error:
        return str(error)
    return None


def _in_order(header: DllamaHeader) -> Iterator[Tensor]:
    kind, dim = header.quantization, header.dim
    yield Tensor("embedding", 0, _F32, header.vocabulary, dim, 0, Cut.ROOT)
    for layer in range(header.layers):
        yield from _attention(header, layer)
        yield from _feed_forward(header, layer)
        if header.architecture != "llama":
            yield _norm("block_norm_q", layer, header.head_dim)
            yield _norm("block_norm_k", layer, header.head_dim)
        yield _norm("block_norm_0", layer, dim)
        yield _norm("block_norm_1", layer, dim)
    yield _norm("final_norm", 0, dim)
    yield Tensor("final_matmul_logits", 0, kind, header.vocabulary, dim, 0, Cut.ROWS)


def _attention(header: DllamaHeader, layer: int) -> Iterator[Tensor]:
    q_dim, kv_dim = header.heads * header.head_dim, header.kv_heads * header.head_dim
    for letter, rows in (("q", q_dim), ("k", kv_dim), ("v", kv_dim)):
        yield Tensor(f"block_matmul_{letter}", layer, header.quantization, rows, header.dim, 0, Cut.ROWS)
    yield Tensor("block_matmul_wo", layer, header.quantization, header.dim, q_dim, 0, Cut.COLUMNS)


def _feed_forward(header: DllamaHeader, layer: int) -> Iterator[Tensor]:
    kind, dim = header.quantization, header.dim
    width = header.moe_hidden_dim if header.architecture == "qwen3moe" else header.hidden_dim
    if header.experts:
        yield Tensor("block_moe_gate", layer, _F32, header.experts, dim, 0, Cut.WHOLE)
    for expert in range(max(header.experts, 1)):
        yield Tensor("block_matmul_w1", layer, kind, width, dim, 0, Cut.ROWS, expert)
        yield Tensor("block_matmul_w2", layer, kind, dim, width, 0, Cut.COLUMNS, expert)
        yield Tensor("block_matmul_w3", layer, kind, width, dim, 0, Cut.ROWS, expert)


def _norm(name: str, layer: int, size: int) -> Tensor:
    return Tensor(name, layer, _F32, 1, size, 0, Cut.WHOLE)
