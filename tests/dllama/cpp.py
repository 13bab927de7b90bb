"""The real dllama: its workers, its root, and what passes between them."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from dllama.puppet import program, said

from synaptic.dllama.wire import Peer

HOST = "127.0.44.1"
DEMO = Path(__file__).parents[2] / "config" / "demo"
TOKENIZER = DEMO / "demo.t"
WITHIN = 40.0  # seconds for anything: a safety net
QUIET = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@dataclasses.dataclass(frozen=True)
class CppWorker:
    peer: Peer
    process: subprocess.Popen[bytes]

    def listens(self) -> bool:
        """Asked of the kernel, for a connection would end it."""
        with contextlib.suppress(psutil.Error):
            sockets = psutil.Process(self.process.pid).net_connections("tcp")
            return any(each.laddr.port == self.peer.port and each.status == psutil.CONN_LISTEN for each in sockets)
        return False

    def wait_until_free(self) -> None:
        """Fails when it ended instead."""
        while not self.listens():
            assert self.process.poll() is None, self.process.returncode
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.005)


@pytest.fixture
def cpp_workers() -> Iterator[Callable[[int], list[CppWorker]]]:
    """Starts so many on free ports and waits until they listen."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> CppWorker:
        for _ in range(5):
            words = ["worker", "--host", HOST, "--port", str(port := _free()), "--nthreads", "1", "--net-turbo", "0"]
            started.append(subprocess.Popen([str(program()), *words], stdout=subprocess.DEVNULL, **QUIET))
            worker = CppWorker(Peer(HOST, port), started[-1])
            with contextlib.suppress(AssertionError):  # someone else took the port
                worker.wait_until_free()
                return worker
        raise AssertionError("no worker would listen")

    yield lambda count: [start() for _ in range(count)]
    for process in started:
        process.kill()
        process.wait(10)


def cpp_root(model: Path, workers: Sequence[Peer], prompt: str, steps: int, *words: str) -> list[str]:
    """The pieces that it generates, `~` where there is none."""
    kind = "f32" if "f32" in model.name else "q80"
    command = [str(program()), "inference", "--model", str(model), "--tokenizer", str(TOKENIZER), "--buffer-float-type", kind]
    command += [
        "--prompt",
        prompt,
        "--steps",
        str(steps),
        "--temperature",
        "0",
        "--seed",
        "1",
        "--nthreads",
        "1",
        "--net-turbo",
        "0",
        *words,
    ]
    command += ["--workers", *(f"{each.host}:{each.port}" for each in workers)] if workers else []
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=WITHIN, check=False, **QUIET)
    assert done.returncode == 0, done.stdout[-500:]
    return [piece.decode("utf-8", "replace") for piece in said(done.stdout)]


class Proxy:
    """Stands before a worker and keeps what its root, who comes first, sends to it."""

    def __init__(self, worker: Peer) -> None:
        self.sent = b""
        self._worker, self._listener = worker, socket.create_server((HOST, 0))
        self.peer = Peer(HOST, self._listener.getsockname()[1])
        self._open = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._serve)

    def close(self) -> None:
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WITHIN)
        for sock in self._open:
            sock.close()

    def _start(self, work: Callable[..., None], *args: object) -> None:
        self._threads.append(threading.Thread(target=work, args=args, daemon=True))
        self._threads[-1].start()

    def _serve(self) -> None:
        is_root = True
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection((self._worker.host, self._worker.port), timeout=WITHIN)
                self._open += [here, there]
                self._start(self._pass_on, here, there, is_root)
                self._start(self._pass_on, there, here, False)
                is_root = False

    def _pass_on(self, source: socket.socket, target: socket.socket, is_kept: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.sent += data if is_kept else b""
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def _free() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])
