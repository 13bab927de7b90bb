"""The real engine and what it keeps: names, the threshold, and a load that sends hashes instead of tensors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import requests
from models.big_model import Sizes, big_model

from synaptic.environment import Environment
from synaptic.events import Bus, Noticed
from synaptic.models.seed import seed
from synaptic.models.tensor_cache import kept_in, made, sent_weights
from synaptic.process.install import Engines
from synaptic.process.workers import LocalWorker, Workers, has_client

pytestmark = [pytest.mark.anyio, pytest.mark.live]
PROXY = Path(__file__).parents[1] / "fakes" / "countproxy.py"
TEN_MIB = 10 * 1024**2


@pytest.fixture
def bus() -> Bus:
    return Bus()


def make(home: Path, bus: Bus) -> Workers:
    return Workers(Engines(Environment.of_this_process()), bus, state=home / "workers", logs=home / "logs", variables=os.environ)


@pytest.fixture
async def workers(ggml_rpc_server: Path, tmp_path: Path, bus: Bus) -> AsyncIterator[Workers]:
    made = make(tmp_path, bus)
    yield made
    await made.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "cache" / "rpc")


class Counter:
    """A relay before a worker; `up` is what coordinators have sent through it."""

    def __init__(self, worker: LocalWorker) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, str(PROXY), "--to", str(worker.endpoint)], stdin=pipe, stdout=pipe, text=True)
        self.endpoint = f"127.0.0.1:{self._line().split()[1]}"

    def up(self) -> int:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self._line().split()[1])

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


@pytest.fixture
def count() -> Iterator[Callable[[LocalWorker], Counter]]:
    with contextlib.ExitStack() as stack:

        def start(worker: LocalWorker) -> Counter:
            counter = Counter(worker)
            stack.enter_context(counter.process)
            stack.callback(counter.process.kill)
            return counter

        yield start


@pytest.fixture
def load(llama_server: Path, free_port: int, tmp_path: Path) -> Iterator[Callable[[Path, str], str]]:
    """Load a model over a worker, ask it something, end it; the answer."""
    with contextlib.ExitStack() as stack:

        def run(model: Path, worker: str) -> str:
            words = ["-m", str(model), "--host", "127.0.0.1", "--port", str(free_port), "--rpc", worker, "-ngl", "99", "-c", "64"]
            words += ["-np", "1", "-t", "1", "-fit", "off", "--no-warmup", "--offline"]
            with (tmp_path / "load.log").open("wb") as log:
                server = subprocess.Popen([str(llama_server), *words], stdout=log, stderr=log, env={**os.environ, "GGML_NO_BACKTRACE": "1"})
            stack.enter_context(server)
            stack.callback(server.kill)
            url = f"http://127.0.0.1:{free_port}"
            wait_until_ready(server, url)
            reply = requests.post(f"{url}/completion", json={"prompt": "how are", "n_predict": 8, "temperature": 0}, timeout=50)
            server.terminate()
            server.wait(20)
            return str(reply.json()["content"])

        yield run


def wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    while server.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url}/health", timeout=20).status_code == 200:
                return
        time.sleep(0.02)
    raise AssertionError("llama-server ended")


def fill(model: Path, folder: Path) -> int:
    """The bytes that were written."""
    return seed(sent_weights(model), folder, lambda count: None, threading.Event()).bytes_written


def contents(folder: Path) -> dict[str, bytes]:
    return {each.name: (folder / each.name).read_bytes() for each in kept_in(folder)}


@pytest.mark.parametrize("sizes", [Sizes(heads=10, head=256), Sizes(width=4096, hidden=768, is_tied=True)], ids=["threshold", "tied"])
async def test_seeding_writes_what_the_engine_would(workers, folder, load, tmp_path, free_port, sizes: Sizes) -> None:
    """10 heads of 256 make tensors of exactly 10 MiB, which are not kept; 768 words of 4096 make an embedding that is."""
    model = big_model(tmp_path / "big.gguf", sizes)
    (worker,) = await workers.start(1, port=free_port + 1, threads=1, cache=folder)
    await asyncio.to_thread(load, model, str(worker.endpoint))
    by_engine = contents(folder)
    ours = made(tmp_path / "ours" / "rpc")
    assert fill(model, ours) == sum(map(len, by_engine.values()))
    assert contents(ours) == by_engine
    assert len(by_engine) == (4 if sizes.is_tied else 3)
    assert min(map(len, by_engine.values())) > TEN_MIB


async def test_after_seeding_a_load_sends_only_hashes(workers, folder, load, count, tmp_path, free_port) -> None:
    model = big_model(tmp_path / "big.gguf")
    (worker,) = await workers.start(1, port=free_port + 1, threads=1, cache=folder)
    counter = count(worker)
    seeded = fill(model, folder)
    with_hashes = await asyncio.to_thread(load, model, counter.endpoint)
    hashes = counter.up()
    for each in kept_in(folder):
        (folder / each.name).unlink()
    with_data = await asyncio.to_thread(load, model, counter.endpoint)
    data = counter.up() - hashes
    assert seeded > 3 * TEN_MIB
    assert data > seeded
    assert data / hashes > 5  # what is left are the small tensors and the tokens
    assert data - hashes > 0.99 * seeded
    assert with_hashes == with_data


async def test_a_worker_that_is_started_again_still_keeps(workers, bus, folder, load, tmp_path, free_port) -> None:
    (worker,) = await workers.start(1, port=free_port + 1, threads=1, cache=folder)
    with bus.subscribe(Noticed) as notices:
        os.kill(worker.pid, signal.SIGKILL)
        told = aiter(notices)
        while "is back" not in (await asyncio.wait_for(anext(told), 20)).text:
            pass
    (again,) = workers.all()
    assert again.cache == folder
    await asyncio.to_thread(load, big_model(tmp_path / "big.gguf"), str(again.endpoint))
    assert len(kept_in(folder)) == 3


async def test_what_a_worker_wrote_at_its_end_is_not_believed(workers, folder, free_port) -> None:
    (worker,) = await workers.start(1, port=free_port + 1, threads=1, cache=folder)
    (folder / "0123456789abcdef").write_bytes(b"half a tensor")
    await workers.stop([worker.endpoint])
    assert kept_in(folder) == []


async def test_another_session_knows_the_folder_and_who_holds_the_worker(workers, folder, tmp_path, free_port) -> None:
    (worker,) = await workers.start(1, port=free_port + 1, threads=1, cache=folder, stay=True)
    other = make(tmp_path, Bus())
    assert other.all() == [worker]
    assert not await has_client(worker)
    with socket.create_connection((worker.endpoint.host, worker.endpoint.port)):
        while not await has_client(worker):  # until it has accepted
            await asyncio.sleep(0.01)
