"""Real rpc-servers that serve a generation while they are looked at again and again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from conftest import DEMO, end

from synaptic.cluster.backend import Kind, State
from synaptic.cluster.pool import Pool
from synaptic.discovery.discover import Discovery
from synaptic.discovery.identify import Identifier
from synaptic.discovery.report import Report
from synaptic.discovery.targets import Subnets, named_networks
from synaptic.events import Bus

pytestmark = [pytest.mark.anyio, pytest.mark.live]
PROMPT = {"prompt": "Why is the sky blue?", "n_predict": 800, "temperature": 0, "ignore_eos": True, "cache_prompt": False}


async def look(*ports: int, within: float = 20.0) -> Report:
    """As another machine would: a pool that knows of no coordinator."""
    targets = named_networks(Subnets.parse("127.0.0.1"), [])
    identifier = Identifier(Pool(Bus()), within=within)
    return await Discovery(targets, dict.fromkeys(ports, Kind.RPC), identifier.identify).run()


@contextlib.contextmanager
def coordinator(program, port: int, *workers) -> Iterator[str]:
    spread = ",".join(str(worker.endpoint) for worker in workers)
    words = [str(program), "-m", str(DEMO), "--port", str(port), "--rpc", spread, "-ngl", "99", "-c", "1024", "-np", "1", "-t", "1"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                break
        assert process.poll() is None
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        end(process)


def generate(url: str) -> str:
    request = urllib.request.Request(f"{url}/completion", json.dumps(PROMPT).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=50) as response:
        return json.loads(response.read())["content"]


async def test_a_generation_is_not_touched_by_being_looked_at(rpc_worker, llama_server, free_port):
    workers = [rpc_worker(shielded=False) for _ in range(2)]
    ports = [worker.endpoint.port for worker in workers]
    assert {backend.state for backend in (await look(*ports)).found} == {State.IDLE}
    with coordinator(llama_server, free_port, *workers) as url:
        undisturbed = await asyncio.to_thread(generate, url)
        generating = asyncio.create_task(asyncio.to_thread(generate, url))
        looks = 0
        while not generating.done() or looks < 3:
            report = await look(*ports, within=0.3)
            assert report.found == ()
            assert {other.reason for other in report.others} <= {"silent"}  # or nothing: the worker's queue is full by then
            looks += 1
        assert await generating == undisturbed
        assert len(undisturbed) > 100
    assert {backend.state for backend in (await look(*ports)).found} == {State.IDLE}
    assert [worker.process.poll() for worker in workers] == [None, None]


async def test_a_thousand_looks_harm_no_idle_worker(rpc_worker):
    worker = rpc_worker(shielded=False)
    for _ in range(1000):
        assert [backend.state for backend in (await look(worker.endpoint.port)).found] == [State.IDLE]
    assert worker.process.poll() is None
