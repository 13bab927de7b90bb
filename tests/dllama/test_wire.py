"""The bytes between a root and its workers: as a real root wrote them, and as nobody should."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptic.dllama import graph, wire
from synaptic.dllama.graph import FloatType, GraphError, OpCode, Size3D
from synaptic.dllama.session import EMPTY_SESSION

RECORDED = (Path(__file__).parents[1] / "data" / "dllama" / "root_of_2_nodes.bin").read_bytes()  # up to the weights
HELLO_TO_SECOND = bytes.fromhex("03000000 01000000 0a000000 3132372e302e362e3100 b9820000 0a000000 3132372e302e362e3100 019b0000")


class EndedError(Exception):
    pass


def decode(reading, raw):
    """The value and how many bytes it took."""
    stream = io.BytesIO(raw)

    def take(count):
        if len(taken := stream.read(count)) < count:
            raise EndedError
        return taken

    return wire.read(reading, take), stream.tell()


def recorded():
    """The values of the recorded messages and the bytes of each."""
    found, rest = [], RECORDED
    for message in (wire.hello, wire.ack, wire.ack, wire.net_config, wire.ack, wire.node_config):
        value, size = decode(message(), rest)
        found.append((value, rest[:size]))
        rest = rest[size:]
    assert rest == b""
    return [pair for pair in found if not isinstance(pair[0], bool)]


def test_what_a_real_root_sent_is_understood():
    (hello, _), (net, _), (node, _) = recorded()
    assert hello == wire.Hello(1, 0)
    assert [(pipe.name, pipe.size.x) for pipe in net.pipes] == [("POS", 1), ("TOK", 1), ("X", 256), ("LG", 768), ("ZQ", 512)]
    assert (net.n_batches, net.n_nodes, net.pre_syncs) == (32, 2, (0,))
    assert (node.node_index, len(node.buffers), len(node.segments)) == (1, 31, 10)
    assert node.segments[0] == graph.Segment((), (graph.Sync(2, graph.SyncType.WITH_ROOT),))
    assert node.segments[9].syncs == (graph.Sync(3, graph.SyncType.NODE_SLICES_EXCEPT_ROOT),)
    ops = {op.name: op for op in node.segments[1].ops}
    assert ops["block_matmul_q"].weight == Size3D(FloatType.Q40, 1, 256, 128)
    assert ops["block_norm_pre_0"].config == graph.InvRmsConfig(pytest.approx(1e-5), 1)
    assert ops["block_rope_k"].config.slice.rope_theta == 10_000
    assert ops["block_multihead_att"].config.seq_len == 512


def test_it_is_written_again_byte_for_byte():
    (hello, hello_bytes), (net, net_bytes), (node, node_bytes) = recorded()
    assert (wire.encode_hello(hello), wire.encode_net(net), wire.encode_node(node)) == (hello_bytes, net_bytes, node_bytes)


def test_a_hello_names_the_other_workers():
    hello, size = decode(wire.hello(), HELLO_TO_SECOND)
    assert hello == wire.Hello(3, 1, (wire.Peer("127.0.6.1", 33465), wire.Peer("127.0.6.1", 39681)))
    assert size == len(HELLO_TO_SECOND)
    assert wire.encode_hello(hello) == HELLO_TO_SECOND


def test_the_empty_session_is_one():
    sent = b"".join(step.request for step in EMPTY_SESSION)
    for message in (wire.hello, wire.ack, wire.ack, wire.net_config, wire.ack, wire.node_config, wire.weight_head, wire.control):
        value, size = decode(message(), sent)
        sent = sent[size:]
    assert (value, sent) == (wire.Control(0, 0), b"")


def test_weights_and_passes():
    message = graph.WeightMessage("block_matmul_w1", 7, 1 << 40, b"12345")
    head, _ = decode(wire.weight_head(), wire.encode_weight_head(message))
    assert head == wire.WeightHead("block_matmul_w1", 7, 1 << 40, 5)
    assert decode(wire.weight_head(), wire.NO_MORE_WEIGHTS) == (None, 4)
    assert decode(wire.control(), wire.encode_control(wire.Control(9, 32))) == (wire.Control(9, 32), 8)


LIES = {
    "no workers": (wire.hello, struct.pack("<II", 0, 0), "no workers"),
    "an index too far": (wire.hello, struct.pack("<II", 2, 2), "2 for a worker's index; 1 is the most"),
    "a request of the web": (wire.hello, b"GET / HTTP/1.1\r\n", "says 542393671 for workers"),
    "a secret handshake": (wire.hello, bytes.fromhex("16030100f8"), "for workers"),
    "a long name": (wire.hello, struct.pack("<III", 2, 0, 1 << 31), "bytes of a name"),
    "a port there is not": (wire.hello, struct.pack("<IIII", 2, 0, 0, 65536), "65536 for a port"),
    "another acknowledgement": (wire.ack, b"\0\1\2\3", "sent 00 01 02 03 where an acknowledgement belongs"),
    "too many pipes": (wire.net_config, struct.pack("<III", 32, 2, 1 << 30), "for pipes"),
    "no nodes": (wire.net_config, struct.pack("<IIII", 32, 0, 0, 0), "no nodes"),
    "no rows": (wire.net_config, struct.pack("<IIII", 0, 1, 0, 0), "no rows"),
    "too many segments": (wire.node_config, struct.pack("<III", 0, 0, 1 << 31), "for segments"),
    "another size": (wire.node_config, struct.pack("<III iIII QQQ", 0, 1, 0, 0, 1, 2, 3, 6, 25, 24), "claims 25 bytes for 1 x 2 x 3"),
    "half a block": (wire.node_config, struct.pack("<III iIII QQQ", 0, 1, 0, 2, 1, 1, 31, 31, 18, 18), "no whole blocks of Q40"),
    "an unknown type": (wire.node_config, struct.pack("<III iIII QQQ", 0, 1, 0, 9, 1, 1, 1, 1, 4, 4), "says 9 for a FloatType"),
    "a size of no type": (wire.node_config, struct.pack("<III iIII QQQ", 0, 1, 0, -1, 1, 1, 1, 1, 0, 0), "of no type"),
    "an unknown sync": (wire.node_config, struct.pack("<III II II", 0, 0, 1, 1, 0, 0, 3), "says 3 for a SyncType"),
    "an unknown operation": (wire.node_config, struct.pack("<III II II", 0, 0, 1, 0, 1, 17, 0), "says 17 for a OpCode"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused(lie):
    reading, raw, sentence = LIES[lie]
    with pytest.raises(wire.WireError, match=sentence):
        decode(reading(), raw)


@pytest.mark.parametrize("code", OpCode)
def test_an_operation_takes_the_config_of_its_size_only(code):
    (node,) = [value for value, _ in recorded() if isinstance(value, graph.NodeConfig)]
    op = node.segments[1].ops[0]
    right = {OpCode.ROPE: 120, OpCode.MULTIHEAD_ATT: 48, OpCode.MATMUL: 12, OpCode.MOE_GATE: 12, OpCode.INV_RMS: 8, OpCode.RMS_NORM: 8}
    right |= dict.fromkeys((OpCode.MUL, OpCode.SCALE, OpCode.SHIFT), 4)
    for size in (0, 1, 4, 8, 12, 48, 120, 121, 256):
        raw = struct.pack("<III II II", 0, 0, 1, 0, 1, code, 0) + struct.pack("<iIII QQQ", -1, *[0] * 6) + struct.pack("<I", size)
        raw += b"\x02\0\0\0x\0" + struct.pack("<6I", 0, 0, 0, 1, 0, 1) + bytes(size)
        if size == right.get(code, 1) or (code not in right and size == 0):
            value, _ = decode(wire.node_config(), raw)
            assert value.segments[0].ops[0].code is code
            assert decode(wire.node_config(), wire.encode_node(value))[0] == value
        else:
            with pytest.raises(wire.WireError, match="bytes of config for"):
                decode(wire.node_config(), raw)
    assert op.weight == graph.SIZE_0


MESSAGES = [wire.hello, wire.ack, wire.net_config, wire.node_config, wire.weight_head, wire.control]


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(MESSAGES), st.binary(max_size=400))
def test_noise_is_refused_or_understood_and_asks_for_little(message, noise):
    asked = []

    def take(count):
        asked.append(count)
        if sum(asked) > len(noise):
            raise EndedError
        return noise[sum(asked) - count : sum(asked)]

    with contextlib.suppress(wire.WireError, EndedError):
        wire.read(message(), take)
    assert max(asked) <= 4096


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_a_real_config_with_a_few_other_bytes_is_refused_or_understood(data):
    _, (_, net), (_, node) = recorded()
    message, raw = data.draw(st.sampled_from([(wire.net_config, net), (wire.node_config, node)]))
    changed = bytearray(raw)
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    try:
        value, size = decode(message(), bytes(changed))
    except (wire.WireError, EndedError):
        return
    encode = wire.encode_net if isinstance(value, graph.NetConfig) else wire.encode_node
    assert len(encode(value)) <= size + 4096  # a name may hold what is no text
    assert decode(message(), encode(value))[0] is not None


def test_no_claim_takes_memory_before_its_bytes_have_come():
    """As many as are allowed of everything, then nothing."""
    limits = wire.LIMITS
    tracemalloc.start()
    try:
        for message, raw in (
            (wire.hello, struct.pack("<II", limits.workers, 0)),
            (wire.net_config, struct.pack("<III", limits.batches, 2, limits.pipes)),
            (wire.node_config, struct.pack("<III", 0, limits.buffers, limits.segments)),
            (wire.weight_head, struct.pack("<I", limits.name_bytes)),
        ):
            with pytest.raises(EndedError):
                decode(message(), raw)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_sizes_of_values():
    assert (Size3D(FloatType.Q80, 1, 32, 512).n_bytes, Size3D(FloatType.Q80, 1, 32, 512).row_bytes) == (32 * 544, 544)
    with pytest.raises(GraphError, match="33 values are no whole blocks of Q80"):
        FloatType.Q80.bytes_of(33)
