"""How much passes between a coordinator and its workers, on real connections that nobody touches."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from synaptic.endpoint import Endpoint
from synaptic.web import kernel_tcp
from synaptic.web.links import BELIEVED, Line, Link, Links

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(kernel_tcp.connections() is None, reason="this kernel does not tell what has passed on a connection"),
]
US = os.getpid()


@contextlib.contextmanager
def connected(host: str = "127.0.0.1") -> Iterator[tuple[Endpoint, socket.socket, socket.socket]]:
    """A worker that listens, our end of the connection, and its end."""
    with (
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as server,
        socket.create_connection(server.getsockname()[:2]) as ours,
        server.accept()[0] as theirs,
    ):
        yield Endpoint(host, server.getsockname()[1]), ours, theirs


def passed(sender: socket.socket, receiver: socket.socket, count: int) -> None:
    """Sent, read and acknowledged: an answer proves it."""
    for source, sink, size in ((sender, receiver, count), (receiver, sender, 1)):
        source.sendall(b"x" * size)
        while size:
            size -= len(sink.recv(size))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_tells_of_each_connection_whose_it_is(host: str) -> None:
    with connected(host) as (worker, ours, theirs):
        passed(ours, theirs, 5000)
        inode = os.fstat(ours.fileno()).st_ino
        assert inode in kernel_tcp.inodes(US)
        found = (kernel_tcp.connections() or {})[inode]
        assert (found.host, found.port, found.received) == (host, worker.port, 1)
        assert found.sent >= 5000  # the greeting counts as one


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_the_rate_is_of_what_passed_between_two_looks(name: str) -> None:
    with connected() as (worker, ours, theirs):
        line, links = Line("coordinator m", US, (Endpoint(name, worker.port),)), Links()
        passed(ours, theirs, 1000)
        await links.look([line], 100.0)
        assert links.of("coordinator m", US) == ()  # one look knows no rate
        passed(ours, theirs, 6000)
        passed(theirs, ours, 300)  # its acknowledgement carries that of ours
        await links.look([line], 102.0)
        (link,) = links.of("coordinator m", US)
        assert (link.endpoint, link.received_per_second) == (f"{name}:{worker.port}", 150.5)
        assert link.sent_per_second == pytest.approx(3000.5, abs=1)
        assert (links.is_told, links.of("coordinator of another model", US)) == (True, ())
        await links.look([line], 102.0 + 2 * BELIEVED)
        assert links.of("coordinator m", US) == ()  # that long ago is not now


async def test_connections_of_other_programs_do_not_count() -> None:
    with connected() as (worker, ours, theirs), subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        line, links = Line("coordinator m", other.pid, (worker,)), Links()
        for now in (1.0, 2.0):
            passed(ours, theirs, 1000)
            await links.look([line], now)
        assert links.of("coordinator m", other.pid) == ()
        assert links.is_told
        other.communicate(b"\n", timeout=30)


async def test_what_relays_have_counted_needs_no_kernel() -> None:
    links, worker = Links(), Endpoint("10.0.0.1", 50052)
    for now, up, down in ((1.0, 1000, 50), (3.0, 5000, 70)):
        await links.look([Line("coordinator m", US, (worker,), ((str(worker), up, down),))], now)
    assert links.of("coordinator m", US) == (Link(str(worker), 2000.0, 10.0),)
    await links.look([Line("coordinator m", 1, (worker,), ((str(worker), 9000, 70),))], 4.0)
    assert (links.of("coordinator m", US), links.of("coordinator m", 1)) == ((), ())  # another process, which began from nothing
    links.forget()
    assert links.of("coordinator m", US) == ()
