"""vLLM for tests: the real one, and one that says what the real one was heard to say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ports import free_port

HERE = Path(__file__).parent
DATA = HERE / "data" / "vllm"
METRICS = DATA / "metrics-0.32.0.txt"
OLDER_METRICS = DATA / "metrics-0.8.5.txt"  # the same, by the names that version has in vllm/v1/metrics/loggers.py
READY_WITHIN = 400.0  # seconds, on a machine that does much else
ON_A_CPU = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
QUIET = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": ""}
StartVllm = Callable[..., "Vllm"]


class Vllm:
    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process = process

    def kill(self) -> None:
        """It and all that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def vllmfake() -> Iterator[Callable[..., str]]:
    """Gives its URL."""
    started: list[tuple[subprocess.Popen[str], threading.Thread]] = []

    def start(*options: object) -> str:
        words = [sys.executable, str(HERE / "fakes" / "vllmfake.py"), *map(str, options)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout
        url = f"http://127.0.0.1:{process.stdout.readline().split()[1]}"
        reader = threading.Thread(target=process.stdout.read)  # else its pipe fills
        reader.start()
        started.append((process, reader))
        return url

    yield start
    for process, reader in started:
        process.kill()
        reader.join()
        process.wait()
        if process.stdout:
            process.stdout.close()


@pytest.fixture
def vllm(tmp_path: Path) -> Iterator[StartVllm]:
    """The real one, of a tiny model that is made for it. VLLM names its program, of a build for CPUs."""
    program = os.environ.get("VLLM")
    if not program:
        pytest.skip("VLLM names no program (vllm of a build for CPUs): the tests with a real vLLM need it")
    model = tmp_path / "tiny"
    python = Path(program).with_name("python")
    subprocess.run([python, HERE / "fakes" / "tiny_model.py", model], check=True, env=os.environ | QUIET, capture_output=True)
    started: list[Vllm] = []

    def start(*words: str, **variables: str) -> Vllm:
        port = free_port()
        own = ["serve", str(model), "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
        with (tmp_path / f"vllm-{port}.log").open("wb") as log:
            process = subprocess.Popen(
                [program, *own, "--max-model-len", "512", "--max-num-seqs", "4", *words],
                env=os.environ | ON_A_CPU | QUIET | variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(Vllm(port, process))
        return started[-1]

    yield start
    for each in started:
        each.kill()


def until_healthy(*servers: Vllm) -> None:
    deadline = time.monotonic() + READY_WITHIN
    for server in servers:
        while not _is_healthy(server.url):
            assert server.process.poll() is None, "vLLM ended while it started"
            assert time.monotonic() < deadline, "vLLM did not start in time"
            time.sleep(0.5)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
