"""A loop that gathers finds together what came one after the other."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from synaptic.loop import Loop


@pytest.mark.parametrize(("gathers", "together"), [(0.0, [b"a"]), (2.0, [b"a", b"b"])])
def test_what_the_first_look_finds(gathers: float, together: list[bytes]) -> None:
    pairs = [socket.socketpair(), socket.socketpair()]
    found: list[bytes] = []

    async def look() -> None:
        loop = asyncio.get_running_loop()
        came = asyncio.Event()

        def read(end: socket.socket) -> None:
            found.append(end.recv(1))
            came.set()
            is_found.set()

        for ours, _ in pairs:
            loop.add_reader(ours, read, ours)
        writer.start()
        await came.wait()
        for ours, _ in pairs:
            loop.remove_reader(ours)

    def write() -> None:
        pairs[0][1].send(b"a")
        is_found.wait(0.1 if gathers else 10)
        pairs[1][1].send(b"b")

    is_found = threading.Event()
    writer = threading.Thread(target=write)
    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Loop)
        loop.gathers = gathers
        runner.run(look())
    writer.join()
    for pair in pairs:
        for end in pair:
            end.close()
    assert found == together


def test_it_wakes_in_time_for_what_it_promised() -> None:
    """A deadline that is nearer than the next look, and a call from another thread."""

    async def run() -> list[str]:
        loop = asyncio.get_running_loop()
        order: list[str] = []
        loop.call_later(0.01, order.append, "soon")
        loop.call_later(0.2, order.append, "later")
        await asyncio.to_thread(loop.call_soon_threadsafe, order.append, "from a thread")
        await asyncio.sleep(0.3)
        return order

    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Loop)
        loop.gathers = 0.05
        assert sorted(runner.run(run())) == ["from a thread", "later", "soon"]
