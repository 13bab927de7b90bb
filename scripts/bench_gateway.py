#!/usr/bin/env python3
"""
Answers through the gateway against the same llama-server asked directly, in turn, in one run: tokens/s of all streams
together, and the time to the first token of one.

    LLAMA_SERVER=… GGML_RPC_SERVER=… python scripts/bench_gateway.py [--rounds N] [--streams 1,8,64] [--delay MS]

The model lies over two real workers at the end of cables that take --delay milliseconds each way, as on a network;
--delay 0 is two workers without cables: tokens then come faster than any network could carry them, and what one costs
the gateway shows. The gateway is the whole program, in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from synaptic.process.coordinator_ledger import CoordinatorLedger  # noqa: E402

QUESTIONS = ("What is a worker?", "What is distributed inference?", "What is a coordinator?")
ENOUGH = {1: 0.99, 8: 0.98, 64: 0.97}  # of the tokens/s
LATER, LATER_AT_WORST = 2.0, 10.0  # ms to the first token: p50, p99
PER_ROUND, LIMIT = 16, 24  # answers of a round, at least one of each stream, and their tokens
Target = tuple[str, dict[str, str]]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", default="1,8,64")
    parser.add_argument("--delay", type=float, default=1.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        workers = [stack.enter_context(worker(asked.delay)) for _ in range(2)]
        url = stack.enter_context(gateway(Path(home), workers))
        return asyncio.run(measure(url, Path(home), asked))


async def measure(url: str, home: Path, asked: argparse.Namespace) -> int:
    counts = [int(count) for count in asked.streams.split(",")]
    # llama-server closes a connection that lasts at its own moment, and keeps a thread for each: every answer has its own
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as http:
        await answer(http, (url, {}), QUESTIONS[0])
        (entry,) = CoordinatorLedger(home / "state" / "coordinators").entries()
        targets: dict[str, Target] = {"direct": (str(entry.url), {"Authorization": f"Bearer {entry.key}"}), "gateway": (url, {})}
        print(f"{'streams':>8}{'direct':>12}{'gateway':>12}  tokens/s, median of {asked.rounds}, and the ratio")
        missed = [await throughput(http, targets, count, asked.rounds) for count in counts]
        missed.append(await first_tokens(http, targets, asked.rounds))
    return int(any(missed))


async def throughput(http: aiohttp.ClientSession, targets: dict[str, Target], streams: int, rounds: int) -> bool:
    """Whether the mark was missed."""
    found: dict[str, list[float]] = {name: [] for name in targets}
    for number in range(rounds):
        for name in sorted(targets, reverse=number % 2 == 1):
            began = time.perf_counter()
            each = [stream(http, targets[name], max(PER_ROUND // streams, 1)) for _ in range(streams)]
            tokens = sum(await asyncio.gather(*each))
            found[name].append(tokens / (time.perf_counter() - began))
    direct, through = (statistics.median(found[name]) for name in ("direct", "gateway"))
    ratio = statistics.median(two / one for one, two in zip(found["direct"], found["gateway"], strict=True))
    mark = ENOUGH.get(streams, 0.97)
    print(f"{streams:8}{direct:12.1f}{through:12.1f}  {ratio:.3f}  {'reached' if ratio >= mark else f'NOT reached: {mark}'}")
    return ratio < mark


async def stream(http: aiohttp.ClientSession, target: Target, answers: int) -> int:
    return sum([(await answer(http, target, QUESTIONS[number % len(QUESTIONS)], LIMIT))[0] for number in range(answers)])


async def first_tokens(http: aiohttp.ClientSession, targets: dict[str, Target], rounds: int) -> bool:
    """The same question again and again, so that what the engine itself takes is always the same."""
    found: dict[str, list[float]] = {name: [] for name in targets}
    for number in range(rounds * 40):
        for name in sorted(targets, reverse=number % 2 == 1):
            found[name].append((await answer(http, targets[name], QUESTIONS[0], limit=4))[1] * 1000)
    rows = {name: (statistics.median(times), sorted(times)[int(len(times) * 0.99)]) for name, times in found.items()}
    more, at_worst = (two - one for one, two in zip(rows["direct"], rows["gateway"], strict=True))
    print(f"first token, ms: direct p50 {rows['direct'][0]:.2f} p99 {rows['direct'][1]:.2f}", end=" · ")
    print(f"gateway p50 {rows['gateway'][0]:.2f} p99 {rows['gateway'][1]:.2f}", end=" · ")
    is_enough = more <= LATER and at_worst <= LATER_AT_WORST
    print(f"+{more:.2f} and +{at_worst:.2f}  {'reached' if is_enough else f'NOT reached: +{LATER:g} and +{LATER_AT_WORST:g}'}")
    return not is_enough


async def answer(http: aiohttp.ClientSession, target: Target, question: str, limit: int | None = None) -> tuple[int, float]:
    """Tokens, and seconds to the first."""
    url, headers = target
    asked = {"model": "demo", "messages": [{"role": "user", "content": question}], "stream": True, "temperature": 0}
    asked |= {"stream_options": {"include_usage": True}} | ({"max_tokens": limit} if limit else {})
    began, first, usage = time.perf_counter(), None, None
    async with http.post(f"{url}/v1/chat/completions", json=asked, headers=headers) as response:
        assert response.status == 200, await response.text()
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            if first is None and any(choice["delta"].get("content") for choice in event["choices"]):
                first = time.perf_counter() - began
    assert usage
    assert first is not None
    return usage["completion_tokens"], first


@contextlib.contextmanager
def worker(delay: float) -> Iterator[str]:
    """A real worker, behind a cable where there is a delay; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = [os.environ["GGML_RPC_SERVER"], "-H", "127.0.0.1", "-p", str(port), "-t", "1"]
    process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not psutil.Process(process.pid).net_connections("tcp"):
            time.sleep(0.02)
        if not delay:
            yield f"127.0.0.1:{port}"
            return
        cable = [sys.executable, str(ROOT / "tests" / "fakes" / "delayproxy.py"), str(port), "--delay", str(delay)]
        with subprocess.Popen(cable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as passing:
            assert passing.stdout
            try:
                yield f"127.0.0.1:{passing.stdout.readline().split()[1]}"
            finally:
                passing.terminate()
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def gateway(home: Path, workers: list[str]) -> Iterator[str]:
    """The whole program, serving; its URL."""
    variables = os.environ | {"SYNAPTICLLAMAS_HOME": str(home), "LLAMA_RPC_BACKENDS": ",".join(workers), "OLLAMA_HOST": "127.0.0.1:1"}
    program = [sys.executable, str(ROOT / "main.py"), "--enable-distributed-inference", "serve", "--port", "0"]
    with subprocess.Popen(program, env=variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().split()[1]
        finally:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())
