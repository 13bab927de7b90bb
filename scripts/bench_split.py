#!/usr/bin/env python3
"""
The automatic split of a model against every other one, on two real workers of this machine of unequal speed.

    LLAMA_BENCH=… GGML_RPC_SERVER=… python scripts/bench_split.py
    python scripts/bench_split.py --seed004            a 72B model on three 32 GB V100S: the plan, beside what was worked out by hand

One worker is slowed down for real: a companion stops it (SIGSTOP) for most of every few milliseconds. Both are then
measured as `plan --probe` does. Every split is run in turn, in several rounds; the median counts. One run, ratios.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
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
from synaptic.events import Bus  # noqa: E402
from synaptic.models.split import read_whole  # noqa: E402
from synaptic.planning.placement import Machine, Placement, place  # noqa: E402
from synaptic.planning.shape import Shape  # noqa: E402
from synaptic.planning.speeds import Speed  # noqa: E402
from synaptic.process.probe import Probe  # noqa: E402
from synaptic.process.probe_model import probe_model  # noqa: E402

ROUNDS, TOKENS, CONTEXT = 5, 24, 512
AWAKE, ASLEEP = 0.0015, 0.0035  # seconds of each period of the slow one
ENOUGH = 0.95  # of the best
GIB, MIB = 1 << 30, 1 << 20
Split = tuple[int, Endpoint | None]  # layers on the fast one, and who has the output
Found = dict[Split, float]
COMPANION = f"""
import os, signal, sys, time
pid = int(sys.argv[1])
while os.getppid() != 1:
    os.kill(pid, signal.SIGSTOP); time.sleep({ASLEEP})
    os.kill(pid, signal.SIGCONT); time.sleep({AWAKE})
"""


def main() -> int:
    if "--seed004" in sys.argv:
        return seed004()
    with tempfile.TemporaryDirectory() as folder, two_workers() as (fast, slow):
        model = probe_model(Path(folder))
        return compare(model, fast, slow, asyncio.run(speeds(fast, slow, folder=Path(folder))))


def compare(model: Path, fast: Endpoint, slow: Endpoint, measured: dict[Endpoint, Speed]) -> int:
    shape = Shape.of(read_whole(model))
    print(f"fast {fast}: {measured[fast].bandwidth / 1e9:.1f} GB/s   slow {slow}: {measured[slow].bandwidth / 1e9:.1f} GB/s\n")
    found = every_split(model, shape.layers, fast, slow)
    for end, words in ((slow, "output on the slow one"), (fast, "output on the fast one")):
        rates = {count: rate for (count, last), rate in found.items() if last == end}
        print("layers on the fast one" + "".join(f"{count:>8}" for count in rates))
        print(f"{words}" + "".join(f"{rate:>8.1f}" for rate in rates.values()) + "\n")
    print(f"{'the fast one has room for':28}{'automatic':>10}{'tok/s':>8}{'best':>6}{'tok/s':>8}{'ratio':>7}   predicted")
    worst = min(against_the_best(shape, most, found, fast, slow, measured) for most in (shape.layers, 6, 4, 2))
    print(f"\nat worst {worst:.0%} of the best; {ENOUGH:.0%} is enough")
    return 0 if worst >= ENOUGH else 1


def against_the_best(shape: Shape, most: int, found: Found, fast: Endpoint, slow: Endpoint, measured: dict[Endpoint, Speed]) -> float:
    room = room_for(shape, most)
    placed = place(shape, [Machine(slow, 8 * GIB, measured[slow]), Machine(fast, room, measured[fast])], context=CONTEXT)
    ours = (sum(share.layers for share in placed.shares if share.endpoint == fast), placed.shares[-1].endpoint)
    best = max((split for split in found if held(shape, split[0], split[1] == fast) <= room * 19 // 20), key=lambda split: found[split])
    low, high = placed.prediction.tokens_per_second
    ratio = found[ours] / found[best]
    print(f"{most:>10} layers{'':11}{ours[0]:>10}{found[ours]:>8.1f}{best[0]:>6}{found[best]:>8.1f}{ratio:>7.2f}   {low:.0f} to {high:.0f}")
    return ratio


def every_split(model: Path, layers: int, fast: Endpoint, slow: Endpoint) -> Found:
    """In both orders: whoever comes last has the output too."""
    splits = [(count, slow) for count in range(layers)] + [(count, fast) for count in range(1, layers + 1)]
    rates: dict[Split, list[float]] = {split: [] for split in splits}
    for _ in range(ROUNDS):
        for (count, last), seen in rates.items():
            parts = [(fast, count), (slow, layers - count)] if last == slow else [(slow, layers - count), (fast, count)]
            seen.append(rate(model, [part for part in parts if part[1]]))
    return {split: statistics.median(seen) for split, seen in rates.items()}


def rate(model: Path, parts: list[tuple[Endpoint, int]]) -> float:
    """Tokens/s with so many layers on each, and the output on the last."""
    units = [count + (number == len(parts) - 1) for number, (_, count) in enumerate(parts)]
    words = ["--rpc", ",".join(str(endpoint) for endpoint, _ in parts), "-ts", "/".join(map(str, units))]
    command = [os.environ["LLAMA_BENCH"], "-m", str(model), *words, "-ngl", "999", "-p", "0", "-n", str(TOKENS), "-r", "1", "-o", "json"]
    output = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout
    return float(json.loads(output)[0]["avg_ts"])


def held(shape: Shape, layers: int, has_output: bool) -> int:
    """Bytes on a worker, with what must stay free."""
    if not layers:
        return 0
    bytes_held = sum(shape.layer_bytes[:layers]) + shape.output_bytes * has_output
    return bytes_held + shape.kv_bytes(layers, CONTEXT) + shape.compute_bytes(CONTEXT)


def room_for(shape: Shape, layers: int) -> int:
    """Free memory in which just so many layers fit, and the output when they are all. A twentieth of it stays free."""
    return (held(shape, layers, layers == shape.layers) + MIB) * 20 // 19


async def speeds(*endpoints: Endpoint, folder: Path) -> dict[Endpoint, Speed]:
    probe = Probe(Path(os.environ["LLAMA_BENCH"]), Pool(Bus()), folder, os.environ)
    return {endpoint: await probe.measure(endpoint) for endpoint in endpoints}


@contextlib.contextmanager
def two_workers() -> Iterator[tuple[Endpoint, Endpoint]]:
    """A fast one and a slow one."""
    with contextlib.ExitStack() as ends:
        (fast, _), (slow, pid) = (ends.enter_context(worker()) for _ in range(2))
        companion = subprocess.Popen([sys.executable, "-c", COMPANION, str(pid)], stderr=subprocess.DEVNULL)
        ends.callback(os.kill, pid, signal.SIGCONT)
        ends.callback(companion.wait)
        ends.callback(companion.kill)
        yield fast, slow


@contextlib.contextmanager
def worker() -> Iterator[tuple[Endpoint, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [os.environ["GGML_RPC_SERVER"], "-H", "127.0.0.1", "-p", str(port), "-t", "1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, restore_signals=False)
    try:
        _wait_for(port)
        yield Endpoint("127.0.0.1", port), process.pid
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise SystemExit("a worker did not start")


def seed004() -> int:
    """72B: 80 layers of 8192, 8 heads of 128 for keys and values, a vocabulary of 152064; 28 TFLOP/s at a prompt."""
    card = Speed(1134e9, link=3e9, compute=28e12)
    workers = [Machine(Endpoint("10.0.0.32", 50052), 32 * GIB, card, 1e-4), Machine(Endpoint("10.0.0.33", 50052), 32 * GIB, card, 1e-4)]
    machines = [Machine(None, 32 * GIB, card), *workers]
    for quantization, file, embedding, by_hand in (("Q8_0", 77.3e9, 1.32e9, "10.1 to 10.8"), ("Q4_K_M", 47.4e9, 0.75e9, "13.5 to 15.1")):
        layer, ends, parameters = int((file - 2 * embedding) / 80), int(embedding), 72_700_000_000
        shape = Shape((layer,) * 80, ends, ends, 2048, 8192, 29568, 152064, parameters, parameters, quantization)
        for context in (2048, 8192):
            show(quantization, context, place(shape, machines, context=context), by_hand)
    return 0


def show(quantization: str, context: int, placed: Placement, by_hand: str) -> None:
    said = placed.prediction
    low, high = said.tokens_per_second
    print(f"{quantization} · context {context} · {placed.why} · {'fits' if placed.fits else 'does not fit'}")
    for share in placed.shares:
        size = f"{share.bytes / 1e9:.1f} GB, {share.kv_bytes / 1e9:.2f} of them KV cache"
        print(f"  {share.endpoint or 'this machine'!s:18} {share.layers} layers, {size}")
    print(f"  --tensor-split {','.join(f'{part:g}' for part in placed.tensor_split)}")
    print(f"  {said.expected:.1f} tok/s expected ({low:.1f} to {high:.1f}); by hand {by_hand}")
    print(f"  bottleneck: {said.bottleneck}\n")


if __name__ == "__main__":
    sys.exit(main())
