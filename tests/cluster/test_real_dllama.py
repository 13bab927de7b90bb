"""The real dllama and dllama-api: found, proved and named, and never harmed."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dllamas import DllamaWorker, dllama_program
from ports import free_port
from program import run_main

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.dllama import prove
from synaptic.cluster.handshake import Foreign
from synaptic.cluster.http import identify
from synaptic.cluster.pool import Pool
from synaptic.discovery.discover import Discovery
from synaptic.discovery.identify import Identifier
from synaptic.discovery.report import Report
from synaptic.discovery.targets import Subnets, named_networks
from synaptic.endpoint import Endpoint
from synaptic.events import Bus

pytestmark = [pytest.mark.anyio, pytest.mark.live]
DEMO = Path(__file__).parents[2] / "config" / "demo"
MODEL = ("--model", str(DEMO / "demo-q40.m"), "--tokenizer", str(DEMO / "demo.t"), "--buffer-float-type", "q80")
HOST = "127.0.9.1"
NET = "127.0.9.0/30"


@pytest.fixture
def start() -> Iterator[Callable[..., DllamaWorker]]:
    """Starts a program on a free port and waits until it listens."""
    started: list[subprocess.Popen[bytes]] = []

    def launch(program: Path, *words: str, at: int = 0) -> DllamaWorker:
        port = at or free_port(HOST)
        command = [str(program), *words, "--host", HOST, "--port", str(port), "--nthreads", "1", "--net-turbo", "0"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started.append(process)
        server = DllamaWorker(Endpoint(HOST, port), process)
        server.wait_until(listens=True)
        return server

    yield launch
    for process in started:
        process.kill()
        process.wait(10)


@pytest.fixture
def dllama() -> Path:
    return dllama_program("DLLAMA")


@pytest.fixture
def worker(start: Callable[..., DllamaWorker], dllama: Path) -> DllamaWorker:
    return start(dllama, "worker")


@pytest.fixture
def api(start: Callable[..., DllamaWorker]) -> DllamaWorker:
    return start(dllama_program("DLLAMA_API"), *MODEL, "--temperature", "0")


def root(dllama: Path, worker: DllamaWorker, steps: int) -> subprocess.Popen[bytes]:
    words = ["inference", *MODEL, "--prompt", "Why is the sky blue?", "--steps", str(steps), "--temperature", "0", "--seed", "1"]
    words += ["--nthreads", "1", "--net-turbo", "0", "--workers", str(worker.endpoint)]
    return subprocess.Popen([str(dllama), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def pieces(root: subprocess.Popen[bytes]) -> list[bytes]:
    """What it generated; the times beside it differ from run to run."""
    told, _ = root.communicate(timeout=60)
    assert root.returncode == 0, told
    return [line.rpartition(b"|")[2] for line in told.splitlines() if b"Pred" in line]


async def look(*ports: int, kind: Kind = Kind.DLLAMA, verify: bool = False) -> Report:
    identifier = Identifier(Pool(Bus()), verify=frozenset(ports) if verify else frozenset())
    targets = named_networks(Subnets.parse(NET), [])
    return await Discovery(targets, dict.fromkeys(ports, kind), identifier.identify).run()


async def test_a_worker_that_is_slow_to_answer_is_waited_for(worker):
    """Whoever gives up on it ends it."""
    worker.process.send_signal(signal.SIGSTOP)
    proving = asyncio.create_task(prove(worker.endpoint, within=0.1, patience=50))
    assert await asyncio.wait([proving], timeout=0.5) == (set(), {proving})  # its kernel took the connection in its stead
    worker.process.send_signal(signal.SIGCONT)
    assert isinstance(await proving, Backend)
    worker.wait_until(listens=True)


def test_the_command_finds_proves_and_harms_no_worker(worker, dllama, own_home):
    words = ("dllama", "discover", "--subnet", NET, "--port", str(worker.endpoint.port), "--json")
    for verify, state in (((), "unverified"), (("--verify",), "idle"), ((), "unverified")):
        worker.wait_until(listens=True)
        document = run_main(*words, *verify, cwd=own_home).json
        assert [(each["endpoint"], each["kind"], each["state"]) for each in document["found"]] == [(str(worker.endpoint), "dllama", state)]
    worker.wait_until(listens=True)
    assert len(pieces(root(dllama, worker, 24))) > 10


async def test_fifty_looks_and_proofs_later_it_still_serves_a_root(worker, dllama):
    undisturbed = await asyncio.to_thread(lambda: pieces(root(dllama, worker, 24)))
    for _ in range(50):
        worker.wait_until(listens=True)
        assert [each.state for each in (await look(worker.endpoint.port)).found] == [State.UNVERIFIED]
        proof = await prove(worker.endpoint, patience=50)
        assert isinstance(proof, Backend), proof
        assert (proof.kind, proof.state) == (Kind.DLLAMA, State.IDLE)
    worker.wait_until(listens=True)
    assert await asyncio.to_thread(lambda: pieces(root(dllama, worker, 24))) == undisturbed


async def test_a_worker_in_use_is_not_disturbed_by_looks_or_proofs(worker, dllama):
    """While it serves a root it has no open port, and nobody can tell it from one that is not there."""
    undisturbed = await asyncio.to_thread(lambda: pieces(root(dllama, worker, 250)))
    worker.wait_until(listens=True)
    serving = root(dllama, worker, 250)
    worker.wait_until(listens=False)
    serving.send_signal(signal.SIGSTOP)  # so that it is in use however fast this machine is
    for verify in (False, True, False):
        report = await look(worker.endpoint.port, verify=verify)
        assert (report.found, report.others) == ((), ())
    refused = await prove(worker.endpoint)
    assert isinstance(refused, Foreign)
    assert "in use" in refused.detail
    serving.send_signal(signal.SIGCONT)
    assert await asyncio.to_thread(pieces, serving) == undisturbed
    worker.wait_until(listens=True)


@pytest.mark.parametrize("command", ["rpc", "nodes"])
def test_on_its_own_port_it_is_taken_for_nothing_else(start, dllama, own_home, command):
    worker = start(dllama, "worker", at=9999)
    (other,) = run_main(command, "discover", "--subnet", NET, "--port", "9999", "--json", cwd=own_home).json["others"]
    assert (other["endpoint"], other["reason"]) == (str(worker.endpoint), "dllama")
    assert len(pieces(root(dllama, worker, 24))) > 10


async def test_dllama_api_is_named_and_not_harmed(api):
    for _ in range(10):
        answer = await identify(api.endpoint, within=20)
        assert isinstance(answer, Backend), answer
        assert (answer.kind, answer.state) == (Kind.OPENAI, State.IDLE)
        assert answer.detail == "dllama-api · 1 model (demo-q40.m)"
    assert api.process.poll() is None


async def test_dllama_api_survives_a_look_that_is_cancelled_at_any_moment(api):
    for moments in range(1, 40):
        asking = asyncio.create_task(identify(api.endpoint, within=20))
        for _ in range(moments):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(await identify(api.endpoint, within=20), Backend)
    assert api.process.poll() is None


def generate(api: DllamaWorker) -> str:
    document = {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 300}
    request = urllib.request.Request(f"http://{api.endpoint}/v1/chat/completions", json.dumps(document).encode())
    with urllib.request.urlopen(request, timeout=50) as response:
        return json.loads(response.read())["choices"][0]["message"]["content"]


async def test_dllama_api_that_is_busy_generates_the_same_text(api):
    """It answers one at a time: whoever looks meanwhile waits, gives up, and must leave no trace."""
    undisturbed = await asyncio.to_thread(generate, api)
    generating = asyncio.create_task(asyncio.to_thread(generate, api))
    looks = 0
    while not generating.done() or looks < 5:
        await identify(api.endpoint, within=0.01)
        looks += 1
    assert await generating == undisturbed
    assert len(undisturbed) > 20
    assert isinstance(await identify(api.endpoint, within=20), Backend)
    assert api.process.poll() is None


def test_the_command_names_dllama_api(api, own_home):
    words = ("nodes", "discover", NET, "--port", str(api.endpoint.port), "--timeout", "10")
    assert f"Found: {api.endpoint}   dllama-api · 1 model (demo-q40.m)" in run_main(*words, cwd=own_home).out
    assert "found 1 dllama port" in run_main("dllama", "discover", "--subnet", NET, "--port", str(api.endpoint.port), cwd=own_home).out
    assert api.process.poll() is None
