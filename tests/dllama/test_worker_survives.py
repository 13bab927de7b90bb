"""A worker goes on whatever connects to it, and whenever its root vanishes. The original ends, at nearly each of these."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import struct

import psutil
import pytest
from dllama.workers import RECORDED, begin, configure, exactly, launched, reset  # noqa: F401 - a fixture

from synaptic.dllama import graph, wire
from synaptic.dllama.graph import FloatType, NetConfig, NodeConfig, Pipe, Segment, Size3D, Sync, SyncType
from synaptic.dllama.session import ACK, BUSY

HELLO = wire.encode_hello(wire.Hello(1, 0))
NET_ENDS = RECORDED.index(ACK, 16)
NOISE = random.Random(1).randbytes(65536)
WORDS = {
    "nothing": b"",
    "two bytes": b"\x01\x02",
    "half a hello": HELLO[:6],
    "a request of the web": b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    "a banner": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "a secret handshake": bytes.fromhex("1603010200010001fc0303") + NOISE[:500],
    "a hello to nobody": struct.pack("<II", 0, 0),
    "noise": NOISE,
    "a hello": HELLO,
    "a hello and the same again": HELLO + HELLO,
    "a hello and a wrong answer": HELLO + b"\0\0\0\0",
}
# a root that vanishes after so many bytes of a real session with a pass
WEIGHT = wire.encode_weight_head(wire.WeightHead("block_matmul_q", 0, 0, 18432)) + bytes(18432)
ROW = wire.encode_control(wire.Control(0, 1)) + bytes(1024)
SESSION = RECORDED + WEIGHT + wire.NO_MORE_WEIGHTS + ROW
STAGES = {
    "connected": 0,
    "hello": 8,
    "ready": 12,
    "half a net": NET_ENDS // 2,
    "net": NET_ENDS,
    "half a node": 9000,
    "node": len(RECORDED),
    "half a weight head": len(RECORDED) + 9,
    "half a weight": len(RECORDED) + 9000,
    "weights": len(SESSION) - len(ROW) - 4,
    "loaded": len(SESSION) - len(ROW),
    "half a control packet": len(SESSION) - 1028,
    "control packet": len(SESSION) - 1024,
    "half a row": len(SESSION) - 512,
    "first slice": len(SESSION),
}


@pytest.fixture(scope="module")
def worker(launched):  # noqa: F811
    return launched()


def half(sock):
    with contextlib.suppress(OSError):  # it has let us go
        sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("leave", [socket.socket.close, reset, half])
def test_whatever_is_said_it_serves_the_next(worker, words, leave):
    with worker.connect() as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(WORDS[words])
        leave(sock)
        worker.serves()


def test_whoever_holds_the_line_in_silence_keeps_nobody_out(worker):
    before = psutil.Process(worker.process.pid).memory_info().rss
    held = [worker.connect() for _ in range(100)]
    for sock, said in zip(held, [word for word in WORDS.values() if not word.startswith(HELLO)] * 9, strict=False):
        sock.send(said)
    worker.serves()
    assert psutil.Process(worker.process.pid).memory_info().rss - before < 50_000_000
    for sock in held:
        sock.close()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("leave", [socket.socket.close, reset])
def test_wherever_a_root_vanishes_it_serves_the_next(worker, stage, leave):
    """Told by its log that it had come that far."""
    sock = worker.connect()
    sent = 0
    for end in sorted({8, NET_ENDS, len(RECORDED), len(SESSION) - len(ROW), STAGES[stage]}):
        if end <= STAGES[stage]:
            sock.sendall(SESSION[sent:end])
            sent = end
            if end in (8, NET_ENDS, len(RECORDED), len(SESSION) - len(ROW)):
                assert exactly(sock, 4) == ACK
    if stage == "first slice":
        assert len(exactly(sock, 272)) == 272
    leave(sock)
    worker.serves()


def test_sessions_with_other_bytes_here_and_there(launched):  # noqa: F811
    """Whatever they lead to, the next is served."""
    worker, random_ = launched("--patience", "0.5"), random.Random(1)
    for _ in range(300):
        changed = bytearray(SESSION + bytes(4000))
        for _ in range(random_.choice([0, 1, 2, 4])):
            changed[random_.randrange(2000)] = random_.randrange(256)
        del changed[random_.choice([len(changed), random_.randrange(len(changed))]) :]
        with worker.connect() as sock, contextlib.suppress(OSError):
            sock.sendall(changed[:8])
            if changed[:8] == HELLO:
                assert exactly(sock, 4) in (ACK, b"busy")  # busy: the session before has not been found broken yet
            sock.sendall(changed[8:])
    worker.serves()


def test_a_second_root_is_told_that_it_is_in_use_and_the_first_goes_on(worker):
    with worker.connect() as first, worker.connect() as second:
        begin(first, *echo())
        second.sendall(HELLO)
        assert exactly(second, 1000) == BUSY
        assert echoed(first, 3, b"abcdefgh") == b"abcdefgh"
        first.sendall(wire.encode_control(wire.Control(4, 0)))
        assert first.recv(1) == b""
    worker.serves()


def test_a_root_that_comes_while_the_last_one_leaves_is_served(worker):
    with worker.connect() as first, worker.connect() as second:
        begin(first, *echo())
        second.sendall(HELLO)
        first.sendall(wire.encode_control(wire.Control(0, 0)))
        assert exactly(second, 4) == ACK
    worker.serves()


def test_scanners_do_not_disturb_a_session(worker):
    with worker.connect() as root:
        begin(root, *echo())
        for said in WORDS.values():
            with worker.connect() as stray:
                stray.send(said)
                assert echoed(root, 0, b"12345678") == b"12345678"


BAD_GRAPHS = {
    "no pipes": (NetConfig(1, 1, ()), NodeConfig(0, (), ())),
    "no place for positions": (NetConfig(2, 1, (Pipe("P", Size3D(FloatType.F32, 1, 1, 1)),)), NodeConfig(0, (), ())),
    "a node that there is not": (NetConfig(1, 1, (Pipe("P", Size3D(FloatType.F32, 1, 1, 1)),)), NodeConfig(1, (), ())),
    "a sync of no pipe": (
        NetConfig(1, 2, (Pipe("P", Size3D(FloatType.F32, 1, 1, 1)),)),
        NodeConfig(1, (), (Segment((), (Sync(1, SyncType.WITH_ROOT),)),)),
    ),
    "a slice of nothing": (
        NetConfig(1, 3, (Pipe("P", Size3D(FloatType.F32, 1, 1, 1)),)),
        NodeConfig(1, (), (Segment((), (Sync(0, SyncType.NODE_SLICES_EXCEPT_ROOT),)),)),
    ),
    "others that are not there": (
        NetConfig(1, 4, (Pipe("P", Size3D(FloatType.F32, 1, 1, 1)),)),
        NodeConfig(1, (), (Segment((), (Sync(0, SyncType.NODE_SLICES),)),)),
    ),
    "a terabyte": (
        NetConfig(1, 1, (Pipe("P", Size3D(FloatType.F32, 1, 1, 1)),)),
        NodeConfig(0, (graph.Buffer("b", Size3D(FloatType.F32, 64, 65536, 65536)),), ()),
    ),
}


@pytest.mark.parametrize("lie", BAD_GRAPHS)
def test_a_graph_that_cannot_be_is_refused(worker, lie):
    net, node = BAD_GRAPHS[lie]
    with worker.connect() as sock, pytest.raises((AssertionError, ConnectionError)):
        configure(sock, net, node)
    worker.says("cannot be done here")
    worker.serves()


@pytest.mark.parametrize(
    "head",
    [
        wire.WeightHead("block_matmul_q", 0, 18432 - 18, 36),
        wire.WeightHead("block_matmul_q", 0, (1 << 64) - 18, 36),
        wire.WeightHead("block_matmul_q", 99, 0, 18),
        wire.WeightHead("embedding", 0, 0, 1 << 60),
        wire.WeightHead("block_cast_y", 0, 0, 4),
    ],
    ids=lambda head: f"{head.name} {head.index}",
)
def test_a_weight_without_a_place_is_refused(worker, head):
    with worker.connect() as sock:
        for end in ((0, 8), (8, NET_ENDS), (NET_ENDS, len(RECORDED))):
            sock.sendall(RECORDED[slice(*end)])
            assert exactly(sock, 4) == ACK
        sock.sendall(wire.encode_weight_head(head))
        assert sock.recv(1) == b""
    worker.says("where they have no place")
    worker.serves()


@pytest.mark.parametrize("control", [wire.Control(0, 33), wire.Control(0, 1 << 31), wire.Control(512, 1), wire.Control((1 << 32) - 1, 2)])
def test_a_pass_that_cannot_be_is_refused(worker, control):
    """33 rows of 32; positions behind the context of 512."""
    with worker.connect() as sock:
        for end in ((0, 8), (8, NET_ENDS), (NET_ENDS, len(RECORDED))):
            sock.sendall(RECORDED[slice(*end)])
            assert exactly(sock, 4) == ACK
        sock.sendall(wire.NO_MORE_WEIGHTS)
        assert exactly(sock, 4) == ACK
        sock.sendall(wire.encode_control(control) + bytes(min(control.batch_size, 40) * 1024))
        with pytest.raises((ConnectionError, AssertionError)):
            assert len(exactly(sock, 1000)) == 1000
    worker.says("session over")
    worker.serves()


def test_a_small_memory_is_kept_to(launched):  # noqa: F811
    small = launched("--memory", "1MB")
    with small.connect() as sock, pytest.raises((AssertionError, ConnectionError)):
        configure(sock, NetConfig(1, 1, (Pipe("P", Size3D(FloatType.F32, 1, 1, 500_000)),)), NodeConfig(0, (), ()))
    assert small.says("cannot be done here").endswith("1.9 MiB, more than --memory allows, which is 1 MiB")
    small.serves()


def test_silence_ends(launched):  # noqa: F811
    hasty = launched("--patience", "0.3", "--idle", "0.6")
    with hasty.connect() as sock:
        sock.sendall(HELLO)
        assert exactly(sock, 4) == ACK
        assert hasty.says("session over").endswith("sent nothing for 0.3 s")
    hasty.serves()
    with hasty.connect() as sock:
        begin(sock, *echo())
        assert hasty.says("session over").endswith("sent nothing for 0.6 s")
    hasty.serves()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_when_it_is_told_to(launched, number, busy):  # noqa: F811
    worker = launched()
    with worker.connect() as sock:
        if busy:
            begin(sock, *echo())
        worker.process.send_signal(number)
        assert worker.process.wait(30) == 0
        with contextlib.suppress(ConnectionResetError):  # it had not got round to us
            assert sock.recv(1) == b""
    if busy:
        worker.says("session over: this worker ends")
    with pytest.raises(ConnectionRefusedError):
        worker.connect()


def echo() -> tuple[NetConfig, NodeConfig]:
    """Two floats a row, from the root and back: one from each of two nodes."""
    pipes = (Pipe("POS", Size3D(FloatType.F32, 1, 8, 1)), Pipe("X", Size3D(FloatType.F32, 1, 8, 4)))
    syncs = (Sync(1, SyncType.WITH_ROOT), Sync(1, SyncType.NODE_SLICES_EXCEPT_ROOT))
    return NetConfig(8, 2, pipes), NodeConfig(1, (), (Segment((), syncs),))


def echoed(root: socket.socket, position: int, half: bytes) -> bytes:
    root.sendall(wire.encode_control(wire.Control(position, 1)) + bytes(8) + half)
    return exactly(root, len(half))
