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
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "models")]

from gateway_programs import MODEL, PROXY_KEY, Program, Target, litellm, program, worker  # noqa: E402

from synaptic.process.coordinator_ledger import CoordinatorLedger  # noqa: E402

ENOUGH = {1: 0.99, 8: 0.98, 64: 0.97}  # of the tokens/s
MORE_OFTEN = {1: 5, 8: 3}  # a round of few streams is short, and moves more between two
LATER, LATER_AT_WORST = 2.0, 10.0  # ms to the first token: p50, p99
VIEWERS, LITTLE, SETTLED = 5, 0.99, 1.0  # seconds until a viewer has read what was before it came
DIRECT, GATEWAY, LITELLM = "direct", "gateway", "litellm"


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
        for number in range(self._rounds * MORE_OFTEN.get(streams, 1)):
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
        """
        The same question again and again, so that what the engine itself takes is always the same. Connections are kept,
        as the official clients keep them; but llama-server's, which closes each after its answer.
        """
        found: dict[str, list[float]] = {name: [] for name in self.targets}
        async with aiohttp.ClientSession() as kept:
            for number in range(self._rounds * 40):
                for name in _in_turn(self.targets, number):
                    asked = self.answer(self.targets[name], "what is a worker?", limit=4, http=None if name == DIRECT else kept)
                    found[name].append((await asked)[1] * 1000)
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

    async def answer(
        self, target: Target, question: str, limit: int | None = None, http: aiohttp.ClientSession | None = None
    ) -> tuple[int, float]:
        """Tokens, and seconds to the first. `http`: else every answer has its own connection."""
        asked: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": question}], "stream": True}
        asked |= {"temperature": 0, "max_tokens": limit or self._tokens, "stream_options": {"include_usage": True}}
        began, first, tokens, is_over = time.perf_counter(), 0.0, 0, False
        try:
            async with (http or self.http).post(f"{target.url}/v1/chat/completions", json=asked, headers=target.headers) as response:
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
            print(f"{'streams':>8}{''.join(f'{name:>12}' for name in bench.targets)}  tokens/s, medians, and the ratio")
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


if __name__ == "__main__":
    sys.exit(main())
