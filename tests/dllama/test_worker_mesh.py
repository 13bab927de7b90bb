"""A worker among others: it connects to those after it, and finds those before it among whoever connects."""

from __future__ import annotations

import contextlib
import socket

import pytest
from dllama.workers import HOST, begin, configure, exactly, launched  # noqa: F401 - a fixture

from synaptic.dllama import wire
from synaptic.dllama.graph import FloatType, NetConfig, NodeConfig, Pipe, Segment, Size3D, Sync, SyncType
from synaptic.dllama.session import ACK

BEFORE = "127.0.10.2"  # the address of the worker before this one
PIPES = (Pipe("POS", Size3D(FloatType.F32, 1, 8, 1)), Pipe("X", Size3D(FloatType.F32, 1, 8, 4)))
SYNCS = (Sync(1, SyncType.WITH_ROOT), Sync(1, SyncType.NODE_SLICES))
NET = NetConfig(8, 4, PIPES)
NODE = NodeConfig(2, (), (Segment((), SYNCS),))  # the second of three workers


@pytest.fixture(scope="module")
def worker(launched):  # noqa: F811
    return launched()


@pytest.fixture
def after():
    """The worker after this one."""
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(40)
        yield listener


def hello(after: socket.socket, before: str = BEFORE) -> wire.Hello:
    return wire.Hello(3, 1, (wire.Peer(before, 9), wire.Peer(HOST, after.getsockname()[1])))


def passes(root: socket.socket, others: list[socket.socket], rows: int) -> None:
    """A pass: everybody gets this node's float of each row, and sends its own."""
    root.sendall(wire.encode_control(wire.Control(0, rows)) + b"".join(b"....----%04d____" % row for row in range(rows)))
    expected = b"".join(b"%04d" % row for row in range(rows))
    for each in (root, *others):
        assert exactly(each, len(expected)) == expected
        each.sendall(expected)


def ended(root: socket.socket) -> None:
    root.sendall(wire.encode_control(wire.Control(0, 0)))
    assert root.recv(1) == b""


def test_it_meets_the_others(worker, after):
    with worker.connect() as root, worker.connect(BEFORE) as first:
        begin(root, NET, NODE, hello(after))
        last, _ = after.accept()
        with last:
            for rows in (1, 8, 3):
                passes(root, [first, last], rows)
            ended(root)
            assert (first.recv(1), last.recv(1)) == (b"", b"")


def test_strays_are_not_taken_for_another_worker(worker, after):
    """Silent ones from elsewhere, one that leaves and one that speaks; all of them came first."""
    with contextlib.ExitStack() as open_:
        silent = [open_.enter_context(worker.connect("127.0.10.9")) for _ in range(3)]
        left, spoke = worker.connect(BEFORE), open_.enter_context(worker.connect(BEFORE))
        left.close()
        spoke.sendall(b"GET")
        root, first = open_.enter_context(worker.connect()), open_.enter_context(worker.connect(BEFORE))
        begin(root, NET, NODE, hello(after))
        last = open_.enter_context(after.accept()[0])
        passes(root, [first, last], 2)
        silent[0].sendall(b"hello?")
        passes(root, [first, last], 1)
        ended(root)


def test_one_from_an_address_that_nobody_named_is_taken_when_there_is_no_other(worker, after):
    """Its name may mean another address here, or it may have several."""
    with worker.connect() as root, worker.connect("127.0.10.77") as first:
        begin(root, NET, NODE, hello(after, before="no-such-host.invalid"))
        with after.accept()[0] as last:
            passes(root, [first, last], 1)
            ended(root)


def test_others_that_do_not_come_end_the_session(launched, after):  # noqa: F811
    hasty = launched("--patience", "0.5")
    with hasty.connect() as root:
        configure(root, NET, NODE, hello(after))
        root.sendall(wire.NO_MORE_WEIGHTS)
        assert hasty.says("session over").endswith("1 other workers should have connected, and have not")
    hasty.serves()


def test_a_root_that_leaves_before_the_others_have_come_is_not_waited_for(worker, after):
    """As one does that could not go on with another worker."""
    with worker.connect() as root:
        configure(root, NET, NODE, hello(after))
        root.sendall(wire.NO_MORE_WEIGHTS)
        after.accept()[0].close()
    worker.says("left before all other workers had connected")
    worker.serves()


def test_another_that_cannot_be_reached_ends_the_session(worker):
    with worker.connect() as root, socket.create_server((HOST, 0)) as gone:
        said = hello(gone)
        gone.close()
        root.sendall(wire.encode_hello(said))
        assert exactly(root, 4) == ACK
        root.sendall(ACK)
        assert worker.says("cannot be reached").endswith("cannot be reached: connection refused")
    worker.serves()


def test_another_that_vanishes_ends_the_session(worker, after):
    with worker.connect() as root, worker.connect(BEFORE) as first:
        begin(root, NET, NODE, hello(after))
        last, _ = after.accept()
        last.close()
        root.sendall(wire.encode_control(wire.Control(0, 1)) + bytes(16) + bytes(4))
        first.sendall(bytes(4))
        worker.says(f"session over: the worker {HOST}:{after.getsockname()[1]} ")
    worker.serves()
