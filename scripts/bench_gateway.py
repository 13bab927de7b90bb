#!/usr/bin/env python3
"""
Answers through the gateway against the same llama-server asked directly, and beside LiteLLM's proxy: taken in turn, in
one run. Tokens/s of all streams together, the time to the first token, what a token costs the gateway's processor, and
what five viewers of the dashboard cost.

    LLAMA_SERVER=… GGML_RPC_SERVER=… python scripts/bench_gateway.py [--rounds N] [--streams 1,8,64] [--litellm PROGRAM]

The model is 160 MB of random numbers, so that a token costs what reading one costs; it runs here with --threads threads,
or over --workers real workers behind cables of --delay milliseconds. PROGRAM (or LITELLM) is a `litellm[proxy]` in its venv.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import aiohttp
import psutil
import requests

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "models")]

from big_model import Sizes, big_model  # noqa: E402

from synaptic.process.coordinator_ledger import CoordinatorLedger  # noqa: E402

SIZES = Sizes(width=1024, hidden=12288, heads=8, is_tied=True)
MODEL = "random"
ENOUGH = {1: 0.99, 8: 0.98, 64: 0.97}  # of the tokens/s
LATER, LATER_AT_WORST = 2.0, 10.0  # ms to the first token: p50, p99
VIEWERS, LITTLE, SETTLED = 5, 0.99, 1.0  # seconds until a viewer has read what was before it came
PROXY_KEY = "sk-0123456789abcdef0123456789abcdef"
DIRECT, GATEWAY, LITELLM = "direct", "gateway", "litellm"


@dataclasses.dataclass(frozen=True)
class Target:
    url: str
    key: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


class Program:
    """The shell that is measured; it reads its lines from a pipe."""

    def __init__(self, shell: subprocess.Popen[str]) -> None:
        self._shell = shell
        self._process = psutil.Process(shell.pid)
        self.gateway = self.opened("serve --port 0")

    def opened(self, line: str) -> str:
        """The URL that the command tells."""
        assert self._shell.stdin
        assert self._shell.stdout
        print(line, file=self._shell.stdin, flush=True)
        return self._shell.stdout.readline().split()[1]

    @property
    def seconds(self) -> float:
        """Of processor time, without its children."""
        return float(sum(self._process.cpu_times()[:2]))

    @property
    def mebibytes(self) -> int:
        return int(self._process.memory_info().rss) >> 20


class Bench:
    def __init__(self, http: aiohttp.ClientSession, program: Program, targets: dict[str, Target], asked: argparse.Namespace) -> None:
        self.http = http
        self.program = program
        self.targets = targets
        self.lost = 0  # answers that did not come, or not whole
        self._rounds = asked.rounds
        self._tokens = asked.tokens

    async def throughput(self, streams: int) -> bool:
        """Whether the mark was missed."""
        found: dict[str, list[float]] = {name: [] for name in self.targets}
        spent: list[float] = []
        for number in range(self._rounds):
            for name in _in_turn(self.targets, number):
                before = self.program.seconds
                found[name].append(await self.rate(self.targets[name], streams, number))
                if name == GATEWAY:
                    spent.append((self.program.seconds - before) / (streams * self._tokens) * 1e6)
        ratio, mark = _ratio(found[DIRECT], found[GATEWAY]), ENOUGH.get(streams, 0.97)
        rates = "".join(f"{statistics.median(rates):12.1f}" for rates in found.values())
        others = "".join(f"   {name} {_ratio(found[DIRECT], found[name]):.3f}" for name in found if name not in (DIRECT, GATEWAY))
        verdict = "reached" if ratio >= mark else f"NOT reached: {mark}"
        print(f"{streams:8}{rates}  {ratio:.3f}  {verdict}{others}   {statistics.median(spent):.0f} us/token, {self.program.mebibytes} MiB")
        return ratio < mark

    async def rate(self, target: Target, streams: int, number: int) -> float:
        """Tokens/s of all streams together."""
        began = time.perf_counter()
        each = (self.answer(target, f"{number} {stream}: what is a worker?") for stream in range(streams))
        tokens = sum([count for count, _ in await asyncio.gather(*each)])
        return tokens / (time.perf_counter() - began)

    async def first_tokens(self) -> bool:
        """The same question again and again, so that what the engine itself takes is always the same."""
        found: dict[str, list[float]] = {name: [] for name in self.targets}
        for number in range(self._rounds * 40):
            for name in _in_turn(self.targets, number):
                found[name].append((await self.answer(self.targets[name], "what is a worker?", limit=4))[1] * 1000)
        rows = {name: (statistics.median(times), sorted(times)[int(len(times) * 0.99)]) for name, times in found.items()}
        print("first token, ms: " + " · ".join(f"{name} p50 {middle:.2f} p99 {worst:.2f}" for name, (middle, worst) in rows.items()))
        more, at_worst = (two - one for one, two in zip(rows[DIRECT], rows[GATEWAY], strict=True))
        is_enough = more <= LATER and at_worst <= LATER_AT_WORST
        print(f"  +{more:.2f} and +{at_worst:.2f}: {'reached' if is_enough else f'NOT reached: +{LATER:g} and +{LATER_AT_WORST:g}'}")
        return not is_enough

    async def watched(self) -> bool:
        """What viewers of the dashboard cost one stream."""
        found, spent = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
        page = self.program.opened("dashboard on --port 0")
        for number in range(self._rounds * 4):
            is_seen = number % 4 in (1, 2)
            async with self._viewers(page, VIEWERS if is_seen else 0):
                await asyncio.sleep(SETTLED)
                before, began = self.program.seconds, time.perf_counter()
                found[is_seen] += sum([await self.rate(self.targets[GATEWAY], 1, number) for _ in range(4)])
                spent[is_seen] += (self.program.seconds - before) / (time.perf_counter() - began) / self._rounds / 2
        ratio = found[True] / found[False]
        print(f"{VIEWERS} viewers: {ratio:.3f} of the tokens/s, {'reached' if ratio > LITTLE else f'NOT reached: {LITTLE}'}", end="; ")
        print(f"{spent[True]:.1%} of a processor, {spent[False]:.1%} without")
        return ratio <= LITTLE

    async def answer(self, target: Target, question: str, limit: int | None = None) -> tuple[int, float]:
        """Tokens, and seconds to the first."""
        asked: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": question}], "stream": True}
        asked |= {"temperature": 0, "max_tokens": limit or self._tokens, "stream_options": {"include_usage": True}}
        began, first, tokens, is_over = time.perf_counter(), 0.0, 0, False
        try:
            async with self.http.post(f"{target.url}/v1/chat/completions", json=asked, headers=target.headers) as response:
                async for line in response.content:
                    first = first or (time.perf_counter() - began if b'"content":"' in line and b'"content":""' not in line else 0.0)
                    is_over = is_over or line.startswith(b"data: [DONE]")
                    if b'"usage":{' in line or b'"usage": {' in line:
                        tokens = json.loads(line[6:])["usage"]["completion_tokens"]
        except aiohttp.ClientError:
            is_over = False
        self.lost += not (is_over and first and tokens)
        return tokens, first

    @contextlib.asynccontextmanager
    async def _viewers(self, page: str, count: int) -> AsyncIterator[None]:
        address, _, token = page.partition("/#token=")
        async with contextlib.AsyncExitStack() as stack:
            for path in ("/ws/dashboard", "/ws/logs", "/ws/llama_cpp_logs") * count:
                opened = self.http.ws_connect(address + path, protocols=("synaptic", f"token.{token}"), origin=address)
                stack.enter_context(_cancelled(asyncio.create_task(_read(await stack.enter_async_context(opened)))))
            yield


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", default="1,8,64")
    parser.add_argument("--tokens", type=int, default=256, help="of an answer")
    parser.add_argument("--threads", type=int, default=1, help="of llama-server")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--delay", type=float, default=1.0)
    parser.add_argument("--litellm", default=os.environ.get("LITELLM"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as stack:
        workers = [stack.enter_context(worker(asked.delay)) for _ in range(asked.workers)]
        return asyncio.run(measure(stack.enter_context(program(Path(home), workers, asked)), Path(home), asked))


async def measure(program: Program, home: Path, asked: argparse.Namespace) -> int:
    # llama-server closes a connection that lasts at its own moment, and keeps a thread for each: every answer has its own
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as http:
        bench = Bench(http, program, {GATEWAY: Target(program.gateway)}, asked)
        await bench.answer(bench.targets[GATEWAY], "hello", limit=4)
        ledger = CoordinatorLedger(home / "state" / "coordinators")
        (entry,) = ledger.entries()
        direct = Target(str(entry.url), entry.key)
        with contextlib.ExitStack() as stack:
            stack.callback((lock := ledger.busy(MODEL)) and lock.give_back)  # else the program would look whether it still answers
            bench.targets = {DIRECT: direct, **bench.targets}
            if asked.litellm:
                bench.targets[LITELLM] = Target(stack.enter_context(litellm(asked.litellm, direct, home)), PROXY_KEY)
                await bench.answer(bench.targets[LITELLM], "hello", limit=4)
            before = program.mebibytes
            print(f"{'streams':>8}{''.join(f'{name:>12}' for name in bench.targets)}  tokens/s, median of {asked.rounds}, and the ratio")
            missed = [await bench.throughput(int(count)) for count in asked.streams.split(",")]
            missed += [await bench.first_tokens(), await bench.watched()]
        print(f"answers that were lost: {bench.lost}; memory of the program: {before} MiB before, {program.mebibytes} MiB after")
    return int(any(missed) or bench.lost > 0)


def _in_turn(targets: dict[str, Target], number: int) -> list[str]:
    return [*targets, *targets][number % len(targets) :][: len(targets)]  # each comes first equally often


def _ratio(one: Sequence[float], other: Sequence[float]) -> float:
    return statistics.median(b / a for a, b in zip(one, other, strict=True))


async def _read(socket_: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket_:
        pass


@contextlib.contextmanager
def _cancelled(task: asyncio.Task[None]) -> Iterator[None]:
    try:
        yield
    finally:
        task.cancel()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def worker(delay: float) -> Iterator[str]:
    """A real worker, behind a cable where there is a delay; its address."""
    port = free_port()
    words = [os.environ["GGML_RPC_SERVER"], "-H", "127.0.0.1", "-p", str(port), "-t", "1"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
def program(home: Path, workers: list[str], asked: argparse.Namespace) -> Iterator[Program]:
    """The whole program, with its gateway."""
    (home / "models").mkdir()
    big_model(home / "models" / f"{MODEL}.gguf", SIZES)
    settings = {"models_dirs": [str(home / "models")], "context": 512, "threads": asked.threads}
    settings |= {"parallel": max(map(int, asked.streams.split(","))), "distributed_inference_enabled": bool(workers)}
    (home / "settings.json").write_text(json.dumps(settings))
    variables = os.environ | {"SYNAPTICLLAMAS_HOME": str(home), "LLAMA_RPC_BACKENDS": ",".join(workers), "OLLAMA_HOST": "127.0.0.1:1"}
    words = [sys.executable, str(ROOT / "main.py"), "--config", str(home / "settings.json")]
    with subprocess.Popen(words, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        yield Program(shell)
        shell.terminate()


@contextlib.contextmanager
def litellm(program: str, direct: Target, home: Path) -> Iterator[str]:
    """LiteLLM's proxy in front of the same server; its URL."""
    port = free_port()
    entry = {"model_name": MODEL, "litellm_params": {"model": f"openai/{MODEL}", "api_base": f"{direct.url}/v1", "api_key": direct.key}}
    (home / "litellm.yaml").write_text(json.dumps({"model_list": [entry]}))  # JSON is YAML
    variables = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LITELLM_MASTER_KEY": PROXY_KEY}
    words = [program, "--config", str(home / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(words, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"http://127.0.0.1:{port}/health/liveliness", timeout=2).ok:
                    break
            assert process.poll() is None, "litellm ended"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
