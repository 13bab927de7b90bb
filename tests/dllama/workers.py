"""The worker as a program, and a root that can stop anywhere."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from synaptic.dllama import wire
from synaptic.dllama.graph import NetConfig, NodeConfig
from synaptic.dllama.session import ACK, EMPTY_SESSION

HOST = "127.0.10.1"
RECORDED = (Path(__file__).parents[1] / "data" / "dllama" / "root_of_2_nodes.bin").read_bytes()  # up to the weights
ALONE = wire.Hello(1, 0)
WITHIN = 40.0  # seconds for anything: a safety net
AGAIN = 20  # times; a worker that is busy lets one wait for a while before it says so


@dataclasses.dataclass(frozen=True)
class Program:
    process: subprocess.Popen[str]
    port: int
    lines: queue.Queue[str]

    def connect(self, source: str = "") -> socket.socket:
        sock = socket.create_connection((HOST, self.port), timeout=WITHIN, source_address=(source, 0) if source else None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def says(self, text: str) -> str:
        """The next line with this text in it."""
        while text not in (line := self.lines.get(timeout=WITHIN)):
            pass
        return line

    def serves(self) -> None:
        """A root comes and goes. It comes again where the one before it has not been found broken yet."""
        for _ in range(AGAIN):
            if self._is_free():
                break
        self.says("said stop")

    def _is_free(self) -> bool:
        with self.connect() as sock:
            for step in EMPTY_SESSION:
                sock.sendall(step.request)
                reply = exactly(sock, len(step.reply))
                if reply == b"busy":
                    return False
                assert reply == step.reply
            assert sock.recv(1) == b""
        return True


def exactly(sock: socket.socket, count: int) -> bytes:
    """Fewer when the stream ends."""
    received = b""
    while len(received) < count and (chunk := sock.recv(count - len(received))):
        received += chunk
    return received


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def configure(sock: socket.socket, net: NetConfig, node: NodeConfig, hello: wire.Hello = ALONE) -> None:
    """A session up to its weights, as a root speaks."""
    for said in (wire.encode_hello(hello), ACK + ACK + wire.encode_net(net), ACK + wire.encode_node(node)):
        sock.sendall(said)
        assert exactly(sock, 4) == ACK


def begin(sock: socket.socket, net: NetConfig, node: NodeConfig, hello: wire.Hello = ALONE) -> None:
    """A session up to its first pass, without weights."""
    configure(sock, net, node, hello)
    sock.sendall(wire.NO_MORE_WEIGHTS)
    assert exactly(sock, 4) == ACK


@pytest.fixture(scope="module")
def launched() -> Iterator[Callable[..., Program]]:
    started: list[subprocess.Popen[str]] = []

    def launch(*words: str) -> Program:
        command = [sys.executable, "-m", "synaptic.dllama.worker", "--host", HOST, "--port", "0", "--threads", "1", *words]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first.startswith(f"listening on {HOST}:"), first
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_listen, args=(process, lines), daemon=True).start()
        return Program(process, int(first.split(":")[1].split(",")[0]), lines)

    yield launch
    for process in started:
        process.kill()
        process.wait(10)
        assert process.stderr is not None
        with contextlib.suppress(OSError):
            process.stderr.close()


def _listen(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stderr is not None
    with contextlib.suppress(ValueError):  # closed at the end
        for line in process.stderr:
            lines.put(line.strip())
