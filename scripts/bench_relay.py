#!/usr/bin/env python3
"""
What a relay between coordinator and workers costs, and what it brings: decode with and without, and a cable that is pulled.

    LLAMA_SERVER=… LLAMA_BENCH=… GGML_RPC_SERVER=… python scripts/bench_relay.py [ROUNDS]

Decode: llama-bench over two workers of this machine, with and without in turn, on the demo (a token takes a millisecond:
nothing could show the cost more) and on a larger synthetic model. Each round is compared with itself, and the median
counts. One run, ratios.
The cable: a worker in a network namespace of its own, at the end of a pair of interfaces of which one is taken down.
Without a relay nobody notices a coordinator that rests; it is given up after a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from synaptic.cluster.pool import Pool  # noqa: E402
from synaptic.endpoint import Endpoint  # noqa: E402
from synaptic.engines.engine import Message, Request  # noqa: E402
from synaptic.engines.over_workers import server_of  # noqa: E402
from synaptic.environment import Environment  # noqa: E402
from synaptic.errors import EngineError  # noqa: E402
from synaptic.events import Bus  # noqa: E402
from synaptic.models.catalog import Catalog  # noqa: E402
from synaptic.planning.plan import Plan  # noqa: E402
from synaptic.process.child import Patience, State  # noqa: E402
from synaptic.process.coordinator import Coordinator  # noqa: E402
from synaptic.process.coordinators import Coordinators  # noqa: E402
from synaptic.process.install import Engines  # noqa: E402
from synaptic.process.probe_model import probe_model  # noqa: E402
from synaptic.process.relayed import RELAY, Relayed  # noqa: E402

DEMO = ROOT / "config" / "demo" / "demo-q4_0.gguf"
TOKENS, NOTICE, BOUND = 64, 2.0, 15.0
HERE, THERE = "10.77.9.1", Endpoint("10.77.9.2", 50052)
ENTER = ("unshare", "--user", "--map-root-user", "--net", "--mount")
WORKER = "read go; ip link set lo up; ip addr add {host}/24 dev there; ip link set there up; exec {program} -H {host} -p {port} -t 1"


def main() -> int:
    if "--inside" in sys.argv:
        print(json.dumps(asyncio.run(pull(with_relay="on" in sys.argv, asks="asks" in sys.argv))))
        return 0
    rounds = int(sys.argv[1]) if sys.argv[1:] else 7
    with tempfile.TemporaryDirectory() as folder, worker() as first, worker() as second:
        for name, model in (("demo", DEMO), ("probe", probe_model(Path(folder)))):
            compare(name, model, f"{first},{second}", rounds)
    for relay in ("on", "off"):
        for does in ("rests", "asks"):
            done = subprocess.run([*ENTER, sys.executable, __file__, "--inside", relay, does], capture_output=True, text=True, check=False)
            print(f"cable pulled, relay {relay:3} coordinator {does:5}  {told(done)}")
    return 0


def compare(name: str, model: Path, workers: str, rounds: int) -> None:
    """Decode of one model, in turn."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for with_relay in random.sample([False, True], 2):
            rates[with_relay].append(rate(model, workers, with_relay=with_relay))
    plain, relayed = (statistics.median(rates[with_relay]) for with_relay in (False, True))
    ratio = statistics.median(with_it / without for with_it, without in zip(rates[True], rates[False], strict=True))
    added = statistics.median(1000 / with_it - 1000 / without for with_it, without in zip(rates[True], rates[False], strict=True))
    print(
        f"decode, {name:6} without {plain:7.1f} tok/s   with {relayed:7.1f}   ratio {ratio:.3f}   {added:+.3f} ms a token,"
        f" which is {added * 20 / 1000:+.1%} of a model at 20 tok/s"
    )


def rate(model: Path, workers: str, *, with_relay: bool) -> float:
    words = [os.environ["LLAMA_BENCH"], "-m", str(model), "--rpc", workers, "-ngl", "999", "-p", "0", "-n", str(TOKENS), "-r", "3"]
    before = [sys.executable, "-m", RELAY, "to-workers", "--"] if with_relay else []
    done = subprocess.run([*before, *words, "-o", "json"], capture_output=True, check=True, timeout=120, cwd=ROOT)
    return float(json.loads(done.stdout)[0]["avg_ts"])


async def pull(*, with_relay: bool, asks: bool) -> dict[str, object]:
    """In a network of our own: how long a coordinator runs on without its worker, and what is said of its end."""
    sh("ip link set lo up && ip link add here type veth peer name there")
    with tempfile.TemporaryDirectory() as folder, far_worker() as pid:
        bus = Bus()
        coordinators = Coordinators(
            Engines(Environment.of_this_process()),
            Pool(bus),
            bus,
            logs=Path(folder),
            variables=os.environ,
            tuning=lambda: (Patience(terms=(0.3, 0.3)), 1),
            relayed=lambda: Relayed(with_relay, NOTICE),
        )
        coordinator = await coordinators.ensure(Plan(Catalog(lambda: (), DEMO).find("demo"), (THERE,), 512))
        sh(f"nsenter -t {pid} -n ip link set there down")
        began = time.monotonic()
        question = asyncio.create_task(asked(coordinator) if asks else asyncio.sleep(0))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BOUND):
                while coordinator.state is State.READY:
                    await asyncio.sleep(0.02)
        took, cause = time.monotonic() - began, coordinator.child.cause
        question.cancel()
        await coordinators.stop()
    return {"noticed": bool(cause), "seconds": round(took, 2), "cause": cause}


async def asked(coordinator: Coordinator) -> None:
    """One question, until it breaks off."""
    question = Request((Message("user", "What is a worker?"),), "demo", temperature=0.0)
    with contextlib.suppress(EngineError):
        async for _ in server_of(coordinator, BOUND * 2).generate(question):
            pass


def told(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        return f"not tried: {(done.stderr.strip().splitlines() or ['no namespace can be made here'])[-1]}"
    found = json.loads(done.stdout)
    return f"noticed after {found['seconds']} s: {found['cause']}" if found["noticed"] else f"not noticed in {BOUND:g} s"


@contextlib.contextmanager
def far_worker() -> Iterator[int]:
    command = WORKER.format(program=os.environ["GGML_RPC_SERVER"], host=THERE.host, port=THERE.port)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", command], stdin=subprocess.PIPE, restore_signals=False, **quiet)
    try:
        while Path(f"/proc/{process.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(0.01)
        sh(f"ip link set there netns {process.pid} && ip addr add {HERE}/24 dev here && ip link set here up")
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.close()
        wait_for(THERE)
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def worker() -> Iterator[Endpoint]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = Endpoint("127.0.0.1", probe.getsockname()[1])
    words = [os.environ["GGML_RPC_SERVER"], "-H", endpoint.host, "-p", str(endpoint.port), "-t", "1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, restore_signals=False)
    try:
        wait_for(endpoint)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def wait_for(endpoint: Endpoint) -> None:
    """A connection that is closed without a word harms nobody."""
    for _ in range(500):
        with contextlib.suppress(OSError):
            socket.create_connection((endpoint.host, endpoint.port), timeout=1).close()
            return
        time.sleep(0.02)
    raise SystemExit(f"no rpc-server at {endpoint}")


def sh(command: str) -> None:
    subprocess.run(["sh", "-ec", command], check=True)


if __name__ == "__main__":
    sys.exit(main())
