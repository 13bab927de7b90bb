from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from synaptic.endpoint import Endpoint

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "guard"))
import ports  # noqa: E402
import sitecustomize  # noqa: E402, F401 - the guard, also in this process
from dllamas import builtin_worker, dllama_apis, dllama_worker, dllama_workers, dllamaapi  # noqa: E402, F401 - fixtures for every room
from ollamas import ollama, ollamafake  # noqa: E402, F401 - fixtures for every room
from vllms import vllm, vllmfake  # noqa: E402, F401 - fixtures for every room

REPOSITORY = HERE.parent
OUTSIDE = (  # what the user's environment must not decide
    *("LLAMA_RPC_BACKENDS", "OLLAMA_API_KEY", "OLLAMA_MODELS", "NO_COLOR", "CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN", "CONSUL_CACERT"),
    *("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"),
)
DEMO = REPOSITORY / "config" / "demo" / "demo-q4_0.gguf"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test and every program it starts has a home of its own."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SYNAPTICLLAMAS_HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(HERE / "guard"), str(REPOSITORY))))
    for name in OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")  # nobody listens there: a developer's own Ollama stays out of it
    return home


def _program(variable: str) -> Path:
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no program; ./scripts/test builds the engine and sets it")
    return Path(named)


@pytest.fixture
def llama_server() -> Path:
    return _program("LLAMA_SERVER")


@pytest.fixture
def ggml_rpc_server() -> Path:
    return _program("GGML_RPC_SERVER")


@pytest.fixture
def free_port() -> int:
    return ports.free_port()


@dataclasses.dataclass(frozen=True)
class Worker:
    endpoint: Endpoint
    process: subprocess.Popen[bytes]


@pytest.fixture
def rpc_worker(ggml_rpc_server: Path) -> Iterator[Callable[..., Worker]]:
    """Starts real rpc-servers on free ports. `shielded=False`: without the protection our own workers have."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*, shielded: bool = True, host: str = "127.0.0.1") -> Worker:
        port = ports.free_port(host)
        process = subprocess.Popen(
            [str(ggml_rpc_server), "-H", host, "-p", str(port), "-t", "1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            restore_signals=not shielded,
            start_new_session=True,
        )
        processes.append(process)
        _wait_until_listening(process, port)
        return Worker(Endpoint(host, port), process)

    yield start
    for process in processes:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait(timeout=10)


def _wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    """Asked of the kernel: a connection would take the worker's only place."""
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            if any(each.laddr.port == port for each in psutil.Process(process.pid).net_connections("tcp")):
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    raise AssertionError(f"it ended before it listened: {process.returncode}")
