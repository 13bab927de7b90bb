"""Our worker in the place of the original's, under the original's root and beside its workers: the same tokens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from dllama.synthetic import KINDS, write_model
from dllama.workers import HOST, launched  # noqa: F401 - a fixture

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]
DEMO = Path(__file__).parents[2] / "config" / "demo"
PROMPT = "Why is the sky blue, and what does each of the workers keep in its memory while the shell waits? " * 2
QUIET = ("--nthreads", "1", "--net-turbo", "0")


def program(variable: str) -> str:
    if not (named := os.environ.get(variable)):
        pytest.skip(f"{variable} names no program: build distributed-llama with `make dllama dllama-api` and set it to the file")
    return named


@pytest.fixture
def original() -> Iterator[Callable[[], int]]:
    """Starts the original's worker and says its port."""
    started: list[subprocess.Popen[bytes]] = []

    def launch() -> int:
        for _ in range(5):
            with socket.create_server((HOST, 0)) as probe:
                port = probe.getsockname()[1]
            words = [program("DLLAMA"), "worker", "--host", HOST, "--port", str(port), *QUIET]
            started.append(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            if listens(started[-1], port):
                return port
        raise AssertionError("no port to listen on")

    yield launch
    for process in started:
        process.kill()
        process.wait(10)


def listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Read from the kernel's tables: a connection would end it. False when it ended instead."""
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            sockets = psutil.Process(process.pid).net_connections("tcp")
            if any(each.laddr.port == port and each.status == psutil.CONN_LISTEN for each in sockets):
                return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.005)
    return False


def model_words(model: Path, floats: str) -> list[str]:
    return ["--model", str(model), "--tokenizer", str(DEMO / "demo.t"), "--buffer-float-type", floats, *QUIET]


def root(ports: list[int], steps: int = 100, model: Path = DEMO / "demo-q40.m", floats: str = "q80") -> subprocess.Popen[bytes]:
    words = [program("DLLAMA"), "inference", *model_words(model, floats), "--prompt", PROMPT, "--steps", str(steps)]
    words += ["--temperature", "0", "--seed", "1", "--workers", *(f"{HOST}:{port}" for port in ports)]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def pieces(root: subprocess.Popen[bytes]) -> list[bytes]:
    told, _ = root.communicate(timeout=120)
    assert root.returncode == 0, told
    found = [line.rpartition(b"|")[2] for line in told.splitlines() if "🔶".encode() in line]
    assert len(found) > 20
    return found


@pytest.fixture(scope="module")
def worker(launched):  # noqa: F811
    return launched()


@pytest.mark.parametrize("kind", KINDS)
def test_alone_with_the_root(kind, worker, original, tmp_path):
    model, floats = write_model(tmp_path / "m.m", kind), "f32" if kind.endswith("f32") else "q80"
    expected = pieces(root([original()], model=model, floats=floats))
    assert pieces(root([worker.port], model=model, floats=floats)) == expected


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith("f32")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_among_three_workers(kind, place, worker, original, tmp_path):
    """With f32 the order in which the original's workers accept each other decides over the last bit."""
    model, others = write_model(tmp_path / "m.m", kind), [original() for _ in range(3)]
    expected = pieces(root(others, model=model))
    assert pieces(root([*others[:place], worker.port, *others[place:2]], model=model)) == expected


def test_only_ours(launched, original):  # noqa: F811
    expected = pieces(root([original() for _ in range(3)]))
    assert pieces(root([launched().port for _ in range(3)])) == expected


def test_two_threads_compute_the_same(launched, original):  # noqa: F811
    assert pieces(root([launched("--threads", "2").port])) == pieces(root([original()]))


def test_many_sessions_one_after_another(worker):
    first = pieces(root([worker.port]))
    for _ in range(10):
        assert pieces(root([worker.port])) == first


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_root_that_is_killed_in_the_middle(worker, original, number):
    """Both workers, ours and the original's, wait for each other when it happens."""
    first = pieces(root([worker.port], steps=300))
    for moment in range(5):
        killed = root([worker.port], steps=500)
        worker.says("weights loaded")
        with contextlib.suppress(subprocess.TimeoutExpired):
            killed.wait(moment * 0.01)
        killed.send_signal(number)
        killed.communicate(timeout=30)
        worker.says("session over")
    assert pieces(root([worker.port], steps=300)) == first


def test_a_root_that_wants_more_memory_than_is_granted_ends_and_the_worker_stays(launched):  # noqa: F811
    small = launched("--memory", "1MB")
    refused = root([small.port])
    refused.communicate(timeout=30)
    assert refused.returncode != 0
    small.says("more than --memory allows")
    small.serves()


def test_a_root_that_hangs_is_left_and_the_next_is_served(launched):  # noqa: F811
    hasty = launched("--patience", "1", "--idle", "1")
    hanging = root([hasty.port], steps=500)
    try:
        hasty.says("weights loaded")
        hanging.send_signal(signal.SIGSTOP)
        hasty.says("for 1 s")
        assert pieces(root([hasty.port]))
    finally:
        hanging.kill()
        hanging.communicate(timeout=30)


def test_behind_its_api(worker):
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    words = [program("DLLAMA_API"), *model_words(DEMO / "demo-q40.m", "q80"), "--host", HOST, "--port", str(port)]
    words += ["--temperature", "0", "--workers", f"{HOST}:{worker.port}"]
    api = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert listens(api, port)
        document = {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 40}
        answers = []
        for _ in range(3):
            request = urllib.request.Request(f"http://{HOST}:{port}/v1/chat/completions", json.dumps(document).encode())
            with urllib.request.urlopen(request, timeout=50) as response:
                answers.append(json.loads(response.read())["choices"][0]["message"]["content"])
        assert len(answers[0]) > 20
        assert len(set(answers)) == 1
    finally:
        api.kill()
        api.wait(10)
    worker.says("session over")
    worker.serves()
