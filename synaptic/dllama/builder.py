"""
The graphs of a model: what each node is told to compute.

`build`     every node a share of every layer, as the real root does it, byte for byte
`build_run` a run of whole layers for one node, which is told it is the worker of two nodes
`build_steps` all layers for one node, each by itself
`build_head` from the last layer's result to logits, for the root of such runs

The root looks tokens up itself: no graph has an EMBEDDING.
"""

from __future__ import annotations

import dataclasses

from synaptic.dllama.blocks import Blocks, operation
from synaptic.dllama.graph import (
    Buffer,
    FloatType,
    MatmulConfig,
    NetConfig,
    NodeConfig,
    OpCode,
    OpConfig,
    Pipe,
    Pointer,
    Segment,
    Size3D,
    Source,
    Sync,
    SyncType,
    View,
)
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.shares import MOST_ROWS, Share, buffers

POS, TOK, X, LOGITS, PARTS = range(5)  # the pipes of `build`
CHOSEN = 2  # segments of a layer in `build_steps` after which its experts are chosen
RUN_X, RUN_OUT = 1, 2  # the pipes of `build_run` and `build_head` after the positions: in, out


def build(header: DllamaHeader, n_nodes: int, *, context: int, rows: int = MOST_ROWS) -> tuple[NetConfig, tuple[NodeConfig, ...]]:
    """GraphError when the model cannot be shared among so many. `context`: tokens, at most the model's."""
    shares = [Share(header, n_nodes, node, context, rows, 0, header.layers) for node in range(n_nodes)]
    share = shares[0]
    pipes = (
        *(_pipe("POS", share, 1), _pipe("TOK", share, 1), _pipe("X", share, header.dim), _pipe("LG", share, header.vocabulary)),
        Pipe("ZQ", share.size(header.dim * n_nodes, share.activations)),
    )
    return NetConfig(rows, n_nodes, pipes, (POS,)), tuple(_node(each) for each in shares)


def build_run(header: DllamaHeader, first: int, last: int, *, context: int, rows: int = MOST_ROWS) -> tuple[NetConfig, NodeConfig]:
    """The layers `first` up to `last`, without it: rows come in from the root as X and go back to it, as they are."""
    share = Share(header, 1, 0, context, rows, first, last)
    places = buffers(share, extra=(Buffer("zq", share.size(header.dim, share.activations)),))
    parts = places.of("zq")
    blocks = Blocks(places, parts, parts, View.BATCH)
    leave = operation(OpCode.CAST, "final_cast_x", 0, places.of("x"), _mine(RUN_OUT))
    back = (Sync(RUN_OUT, SyncType.NODE_SLICES_EXCEPT_ROOT),)
    segments = (Segment((), (Sync(RUN_X, SyncType.WITH_ROOT),)), *_run(blocks, first, last), Segment(_last(blocks, leave), back))
    pipes = (_pipe("POS", share, 1), _pipe("X", share, header.dim), _pipe("OUT", share, 2 * header.dim))
    return NetConfig(rows, 2, pipes, (POS,)), NodeConfig(1, places.all, segments)


def build_steps(header: DllamaHeader, *, context: int, rows: int = MOST_ROWS, room: int = 0) -> tuple[NetConfig, NodeConfig]:
    """
    Every layer by itself, for one that holds only some of them: as many segments each, from the rows of X to the rows of X.

    `room`: places for experts, which the numbers of the chosen ones are to be replaced with after CHOSEN segments.
    """
    share = Share(header, 1, 0, context, rows, 0, header.layers)
    places = buffers(share, extra=(Buffer("zq", share.size(header.dim, share.activations)),))
    blocks = Blocks(places, places.of("zq"), places.of("zq"), View.BATCH)
    segments: list[Segment] = []
    for layer in range(header.layers):
        leave = operation(OpCode.CAST, "final_cast_x", layer, places.of("x"), _all(RUN_X))
        for segment in _run(blocks, layer, layer + 1):
            segments += _at_choice(segment, room)
        segments.append(Segment(_last(blocks, leave), ()))
    return NetConfig(rows, 1, (_pipe("POS", share, 1), _pipe("X", share, header.dim))), NodeConfig(0, places.all, tuple(segments))


def build_head(header: DllamaHeader, *, rows: int = 1) -> tuple[NetConfig, NodeConfig]:
    share = Share(header, 1, 0, 1, rows, 0, 0)
    places = buffers(share)
    blocks = Blocks(places, _all(RUN_X), _all(RUN_X), View.BATCH)
    enter = operation(OpCode.CAST, "final_cast_x", 0, _all(RUN_X), places.of("x"))
    leave = operation(OpCode.CAST, "final_cast_logits", 0, places.of("lg"), _all(RUN_OUT))
    pipes = (_pipe("POS", share, 1), _pipe("X", share, header.dim), _pipe("LG", share, header.vocabulary))
    return NetConfig(rows, 1, pipes), NodeConfig(0, places.all, (Segment((enter, *blocks.head(), leave), ()),))


def build_matmul(inputs: int, outputs: int, count: int = 1, rows: int = MOST_ROWS) -> tuple[NetConfig, NodeConfig]:
    """The sum of so many products with Q40 weights, for a worker to show its speed with: they are `multiply`, 0 …"""
    width = {"POS": 1, "X": inputs, "OUT": 2 * outputs}
    pipes = tuple(Pipe(name, Size3D(FloatType.F32, 1, rows, count)) for name, count in width.items())
    inside = (
        Buffer("in", Size3D(FloatType.Q80, 1, rows, inputs)),
        Buffer("out", Size3D(FloatType.F32, 1, rows, outputs)),
        Buffer("sum", Size3D(FloatType.F32, 1, rows, outputs)),
        Buffer("experts", Size3D(FloatType.F32, 1, rows, 1)),
    )
    return NetConfig(rows, 2, pipes), NodeConfig(1, inside, _matmul_segments(Size3D(FloatType.Q40, 1, inputs, outputs), count))


def _matmul_segments(weight: Size3D, count: int) -> tuple[Segment, ...]:
    row, product, total = (Pointer(Source.BUFFER, index, View.BATCH) for index in range(3))
    ops = [operation(OpCode.CAST, "enter", 0, _all(RUN_X), row)]
    for index in range(count):
        ops.append(operation(OpCode.MATMUL, "multiply", index, row, product, MatmulConfig(0, 0, 3), weight))
        ops.append(operation(OpCode.MERGE_ADD if index else OpCode.CAST, "add", index, product, total))
    ops.append(operation(OpCode.CAST, "leave", 0, total, _mine(RUN_OUT)))
    sent, returned = Sync(RUN_X, SyncType.WITH_ROOT), Sync(RUN_OUT, SyncType.NODE_SLICES_EXCEPT_ROOT)
    return (Segment((), (sent,)), Segment(tuple(ops), (returned,)))


def _run(blocks: Blocks, first: int, last: int) -> list[Segment]:
    """From X to the parts that are yet to be merged."""
    enter = operation(OpCode.CAST, "block_cast_x", first, _all(RUN_X), blocks.buffers.of("x"))
    segments: list[Segment] = []
    for layer in range(first, last):
        entrance = enter if layer == first else blocks.merge("block_merge_add", layer)
        segments += [Segment(blocks.attention(layer, entrance), ()), Segment(blocks.feed_forward(layer), ())]
    return segments


def _at_choice(segment: Segment, room: int) -> list[Segment]:
    """In two where experts are chosen, if they are to be replaced."""
    codes = [op.code for op in segment.ops]
    if not room or OpCode.MOE_GATE not in codes:
        return [segment]
    border = codes.index(OpCode.MOE_GATE) + 1
    return [Segment(segment.ops[:border], ()), Segment(tuple(_with_room(op, room) for op in segment.ops[border:]), ())]


def _with_room(op: OpConfig, room: int) -> OpConfig:
    if not isinstance(op.config, MatmulConfig):
        return op
    weight, config = dataclasses.replace(op.weight, z=room), dataclasses.replace(op.config, n_experts=room)
    return dataclasses.replace(op, weight=weight, config=config)


def _last(blocks: Blocks, leave: OpConfig) -> tuple[OpConfig, ...]:
    return blocks.merge("final_merge_add", leave.index), leave


def _node(share: Share) -> NodeConfig:
    places = buffers(share)
    blocks = Blocks(places, _mine(PARTS), _all(PARTS), View.BATCHED_SLICE)
    shared = (Sync(PARTS, SyncType.NODE_SLICES),)
    segments = [Segment((), (Sync(X, SyncType.WITH_ROOT),))]
    for layer in range(share.last):
        enter = blocks.merge("block_merge_add", layer) if layer else operation(OpCode.CAST, "block_cast_x", 0, _all(X), places.of("x"))
        segments += [Segment(blocks.attention(layer, enter), shared), Segment(blocks.feed_forward(layer), shared)]
    leave = operation(OpCode.CAST, "final_cast_logits", 0, places.of("lg"), _mine(LOGITS))
    final = (blocks.merge("final_merge_add", 0), *blocks.head(), leave)
    segments.append(Segment(final, (Sync(LOGITS, SyncType.NODE_SLICES_EXCEPT_ROOT),)))
    return NodeConfig(share.part, places.all, tuple(segments))


def _pipe(name: str, share: Share, width: int) -> Pipe:
    return Pipe(name, share.size(width))


def _all(pipe: int) -> Pointer:
    return Pointer(Source.PIPE, pipe, View.BATCH)


def _mine(pipe: int) -> Pointer:
    return Pointer(Source.PIPE, pipe, View.BATCHED_SLICE)
