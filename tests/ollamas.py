"""Ollama for tests: the real one, and one that misbehaves."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ports import free_port

HERE = Path(__file__).parent
DATA = HERE / "data" / "ollama"
MODEL = HERE.parent / "config" / "demo" / "demo-q4_0.gguf"


@dataclasses.dataclass
class Fake:
    """`said` gives the lines after the first, as they come."""

    url: str
    process: subprocess.Popen[str]
    said: queue.Queue[str]

    def heard(self, line: str) -> None:
        """Wait until it said so."""
        while self.said.get(timeout=30) != line:
            pass

    def lines(self) -> list[str]:
        """What it said until now. It says of every request that it came before it answers, so one more is what they end with."""
        with socket.create_connection(("127.0.0.1", int(self.url.rpartition(":")[2])), 30) as there:
            there.sendall(b"GET /now HTTP/1.0\r\n\r\n")
            return list(iter(lambda: self.said.get(timeout=30), "GET /now"))


StartOllama = Callable[..., Fake]


@pytest.fixture
def ollamafake() -> Iterator[StartOllama]:
    started: list[tuple[subprocess.Popen[str], threading.Thread]] = []

    def start(*options: object, port: int = 0) -> Fake:
        words = [sys.executable, str(HERE / "fakes" / "ollamafake.py"), *map(str, options), "--port", str(port)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        number = process.stdout.readline().split()[1]
        said: queue.Queue[str] = queue.Queue()
        listener = threading.Thread(target=_listen, args=(process, said))
        listener.start()
        started.append((process, listener))
        return Fake(f"http://127.0.0.1:{number}", process, said)

    yield start
    for process, listener in started:
        process.kill()
        process.wait(timeout=10)
        listener.join()


def _listen(process: subprocess.Popen[str], said: queue.Queue[str]) -> None:
    assert process.stdout
    with process.stdout as lines:
        for line in lines:
            said.put(line.strip())


@dataclasses.dataclass(frozen=True)
class RealOllama:
    """The model `demo` is in it."""

    url: str
    process: subprocess.Popen[bytes]
    home: Path


@pytest.fixture(scope="module")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOllama]:
    """A real Ollama with nothing but the demo model; it runs the llama-server of LLAMA_SERVER."""
    named = os.environ.get("OLLAMA") or shutil.which("ollama")
    server = os.environ.get("LLAMA_SERVER")
    if not named or not server:
        pytest.skip("OLLAMA names no program (and LLAMA_SERVER the one that it runs): the tests with a real Ollama need both")
    home = tmp_path_factory.mktemp("ollama")
    port = free_port()
    outside = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY"), "http://127.0.0.1:9") | {"NO_PROXY": "127.0.0.1"}
    variables = (
        os.environ
        | outside
        | {
            "HOME": str(home),
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_MODELS": str(home / "models"),
            "OLLAMA_NO_CLOUD": "1",
            "PATH": f"{Path(server).parent}{os.pathsep}{os.environ['PATH']}",
        }
    )
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([named, "serve"], env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, process, home / "log")
        modelfile = home / "Modelfile"
        modelfile.write_text(f"FROM {MODEL}\nPARAMETER temperature 0\n")
        subprocess.run([named, "create", "demo", "-f", str(modelfile)], env=variables, check=True, capture_output=True, timeout=50)
        yield RealOllama(url, process, home)
    finally:
        process.terminate()  # it ends its llama-server itself
        process.wait(timeout=20)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    while process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(f"{url}/api/version", timeout=5):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    raise AssertionError(log.read_text(errors="replace")[-2000:])
