"""
The messages between a distributed-llama root and its workers, as bytes; no sockets here. The order is the session's.

    root    hello                 worker   ACK         root    ACK, "all workers are here"
    root    ACK, NetConfig        worker   ACK
    root    ACK, NodeConfig       worker   ACK
    root    weight heads, each with its bytes; 0       worker   ACK
    root    control packets, each followed by the syncs of the graph; one with batch size 0 is the end

Integers are little-endian. What is read may be hostile: nothing is kept or awaited beyond the limits. A message is
read by a generator that yields how many bytes it wants next, is sent exactly those, and returns the value.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Callable, Generator
from typing import TypeVar

from synaptic.dllama import ops_on_wire
from synaptic.dllama.graph import (
    SIZE_0,
    Buffer,
    FloatType,
    GraphError,
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
    WeightMessage,
)
from synaptic.dllama.session import ACK, REFUSALS

T = TypeVar("T")
Reading = Generator[int, bytes, T]

_U32 = struct.Struct("<I")
_SIZE = struct.Struct("<iIII QQQ")
_POINTER = struct.Struct("<III")
_NODE_HEAD = struct.Struct("<III")
_SYNC = _SEGMENT_HEAD = _CONTROL = struct.Struct("<II")
_SLICE_HEAD = struct.Struct("<IQQ")
_E = TypeVar("_E", bound=enum.IntEnum)


class WireError(ValueError):
    """The peer sent what nobody may send. Says what, in words that follow its name."""


class RefusedError(WireError):
    """One of our workers says why not."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Far above what any root sends, far below what hurts."""

    workers: int = 255
    batches: int = 4096
    pipes: int = 64
    buffers: int = 4096
    segments: int = 4096
    syncs: int = 16  # of one segment
    ops: int = 256  # of one segment
    name_bytes: int = 256
    config_bytes: int = 256  # of one operation


LIMITS = Limits()


@dataclasses.dataclass(frozen=True)
class Peer:
    host: str
    port: int


@dataclasses.dataclass(frozen=True)
class Hello:
    """The first message of a root. `peers` are the other workers, in the order of their indexes."""

    n_workers: int
    index: int  # of this worker, from 0: its node is one higher
    peers: tuple[Peer, ...] = ()


@dataclasses.dataclass(frozen=True)
class WeightHead:
    """`size` bytes for the weight of the operation `name`, `index` follow; they begin at its byte `offset`."""

    name: str
    index: int
    offset: int
    size: int


@dataclasses.dataclass(frozen=True)
class Control:
    """One pass over `batch_size` tokens, the first of which is at `position`; with 0 the session ends."""

    position: int
    batch_size: int


NO_MORE_WEIGHTS = _U32.pack(0)


def read(reading: Reading[T], take: Callable[[int], bytes]) -> T:
    """`take(count)` blocks until it has `count` bytes, or raises."""
    try:
        count = next(reading)
        while True:
            count = reading.send(take(count))
    except StopIteration as done:
        value: T = done.value
        return value


def encode_hello(hello: Hello) -> bytes:
    peers = (_text(peer.host) + _U32.pack(peer.port) for peer in hello.peers)
    return _CONTROL.pack(hello.n_workers, hello.index) + b"".join(peers)


def encode_net(net: NetConfig) -> bytes:
    pipes = b"".join(_size(pipe.size) + _text(pipe.name) for pipe in net.pipes)
    head = _NODE_HEAD.pack(net.n_batches, net.n_nodes, len(net.pipes))
    return head + pipes + struct.pack(f"<{len(net.pre_syncs) + 1}I", len(net.pre_syncs), *net.pre_syncs)


def encode_node(node: NodeConfig) -> bytes:
    buffers = b"".join(_size(buffer.size) + _text(buffer.name) for buffer in node.buffers)
    return _NODE_HEAD.pack(node.node_index, len(node.buffers), len(node.segments)) + buffers + b"".join(map(_segment, node.segments))


def encode_weight_head(message: WeightMessage | WeightHead) -> bytes:
    """The bytes of the weight follow. After the last: NO_MORE_WEIGHTS."""
    size = message.size if isinstance(message, WeightHead) else memoryview(message.data).nbytes
    return _text(message.name) + _SLICE_HEAD.pack(message.index, message.offset, size)


def encode_control(control: Control) -> bytes:
    return _CONTROL.pack(control.position, control.batch_size)


def ack(instead: bytes = ACK) -> Reading[bool]:
    """Whether `instead` came in its place. RefusedError from one of ours."""
    if why := REFUSALS.get(received := (yield len(ACK))):
        raise RefusedError(why)
    if received not in (ACK, instead):
        raise WireError(f"sent {received.hex(' ')} where an acknowledgement belongs")
    return received != ACK


def hello(limits: Limits = LIMITS) -> Reading[Hello]:
    n_workers = yield from _count("workers", limits.workers)
    if n_workers == 0:
        raise WireError("says hello to no workers")
    index = yield from _count("a worker's index", n_workers - 1)
    peers: list[Peer] = []
    for _ in range(n_workers - 1):
        host = yield from _name(limits)
        peers.append(Peer(host, (yield from _count("a port", 65535))))
    return Hello(n_workers, index, tuple(peers))


def net_config(limits: Limits = LIMITS) -> Reading[NetConfig]:
    n_batches = yield from _count("batches", limits.batches)
    n_nodes = yield from _count("nodes", limits.workers + 1)
    pipes = yield from _several((yield from _count("pipes", limits.pipes)), lambda: _place(Pipe, limits))
    count = yield from _count("first syncs", limits.pipes)
    syncs = struct.unpack(f"<{count}I", (yield 4 * count)) if count else ()
    if n_batches == 0 or n_nodes == 0:
        raise WireError("plans for no nodes or no rows")
    return NetConfig(n_batches, n_nodes, pipes, syncs)


def node_config(limits: Limits = LIMITS) -> Reading[NodeConfig]:
    node_index = yield from _count("a node's index", limits.workers)
    n_buffers = yield from _count("buffers", limits.buffers)
    n_segments = yield from _count("segments", limits.segments)
    buffers = yield from _several(n_buffers, lambda: _place(Buffer, limits))
    return NodeConfig(node_index, buffers, (yield from _several(n_segments, lambda: _read_segment(limits))))


def weight_head(limits: Limits = LIMITS) -> Reading[WeightHead | None]:
    """None: that was the last."""
    count = yield from _count("bytes of a name", limits.name_bytes)
    if count == 0:
        return None
    name = _words((yield count))
    return WeightHead(name, *_SLICE_HEAD.unpack((yield _SLICE_HEAD.size)))


def control() -> Reading[Control]:
    return Control(*_CONTROL.unpack((yield _CONTROL.size)))


def _text(name: str) -> bytes:
    raw = name.encode() + b"\0"
    return _U32.pack(len(raw)) + raw


def _size(size: Size3D) -> bytes:
    return _SIZE.pack(size.type, size.z, size.y, size.x, size.length, size.n_bytes, size.n_bytes_xy)


def _segment(segment: Segment) -> bytes:
    syncs = b"".join(_SYNC.pack(sync.pipe, sync.type) for sync in segment.syncs)
    return _SEGMENT_HEAD.pack(len(segment.syncs), len(segment.ops)) + syncs + b"".join(map(_op, segment.ops))


def _op(op: OpConfig) -> bytes:
    config = ops_on_wire.encode(op.config)
    pointers = b"".join(_POINTER.pack(each.source, each.index, each.view) for each in (op.input, op.output))
    return _SYNC.pack(op.code, op.index) + _size(op.weight) + _U32.pack(len(config)) + _text(op.name) + pointers + config


def _count(what: str, most: int) -> Reading[int]:
    (count,) = _U32.unpack((yield _U32.size))
    if count > most:
        raise WireError(f"says {count} for {what}; {most} is the most")
    return int(count)


def _several(count: int, reading: Callable[[], Reading[T]]) -> Reading[tuple[T, ...]]:
    found: list[T] = []
    for _ in range(count):
        found.append((yield from reading()))
    return tuple(found)


def _place(made: Callable[[str, Size3D], T], limits: Limits) -> Reading[T]:
    size = yield from _size_3d()
    return made((yield from _name(limits)), size)


def _name(limits: Limits) -> Reading[str]:
    count = yield from _count("bytes of a name", limits.name_bytes)
    return _words((yield count)) if count else ""


def _words(raw: bytes) -> str:
    """As C sees it: up to the first zero byte."""
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def _size_3d() -> Reading[Size3D]:
    kind, z, y, x, *claimed = _SIZE.unpack((yield _SIZE.size))
    try:
        size = Size3D(_one_of(FloatType, kind), z, y, x)
        if size.type is FloatType.NONE and size != SIZE_0:
            raise WireError("describes values of no type")
        if claimed != [size.length, size.n_bytes, size.n_bytes_xy]:
            raise WireError(f"claims {claimed[1]} bytes for {z} x {y} x {x} values of {size.type.name}")
    except GraphError as error:
        raise WireError(f"describes {error}") from error
    return size


def _read_segment(limits: Limits) -> Reading[Segment]:
    n_syncs = yield from _count("syncs", limits.syncs)
    n_ops = yield from _count("operations", limits.ops)
    syncs = tuple(Sync(pipe, _one_of(SyncType, kind)) for pipe, kind in _SYNC.iter_unpack((yield n_syncs * _SYNC.size)))
    return Segment((yield from _several(n_ops, lambda: _read_op(limits))), syncs)


def _read_op(limits: Limits) -> Reading[OpConfig]:
    number, index = _SYNC.unpack((yield _SYNC.size))
    code = _one_of(OpCode, number)
    weight = yield from _size_3d()
    config_bytes = yield from _count("bytes of an operation's config", limits.config_bytes)
    name = yield from _name(limits)
    source, target = yield from _several(2, _pointer)
    raw = (yield config_bytes) if config_bytes else b""
    try:
        return OpConfig(code, name, index, weight, source, target, ops_on_wire.decode(code, raw))
    except GraphError as error:
        raise WireError(f"describes {error}") from error


def _pointer() -> Reading[Pointer]:
    source, index, view = _POINTER.unpack((yield _POINTER.size))
    return Pointer(_one_of(Source, source), index, _one_of(View, view))


def _one_of(kind: type[_E], value: int) -> _E:
    try:
        return kind(value)
    except ValueError:
        raise WireError(f"says {value} for a {kind.__name__}") from None
