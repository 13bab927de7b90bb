"""What is measured is what the engine does: against its own clock, and against llama-bench of the same build."""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import subprocess
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import psutil
import pytest
from grown import grown

from synaptic.bench.load.asked import LLAMA_SERVER, at_server
from synaptic.bench.load.mixes import Prompt
from synaptic.bench.sample import measured
from synaptic.engines.engine import Chunk, Message

pytestmark = [pytest.mark.anyio, pytest.mark.live]
TOKENS, FEW, MANY = 24, 16, 176


async def test_our_clock_and_the_servers_agree(serving, tmp_path: Path) -> None:
    """Of the same tokens, so that whatever else the machine does falls on both."""
    asked = at_server(
        serving("-np", "1", "-t", "1", model=grown(tmp_path / "grown.gguf", layers=4)), model="m", key=None, software=LLAMA_SERVER
    )
    ratios = []
    for number in range(5):
        theirs: list[float] = []

        async def noting(number: int = number, theirs: list[float] = theirs) -> AsyncGenerator[Chunk, None]:
            prompt = Prompt((Message("user", f"question {number}"),), TOKENS)
            async with contextlib.aclosing(asked.answer(prompt, may_cache=False)) as chunks:
                async for chunk in chunks:
                    if chunk.timings and chunk.timings.tokens_per_second:
                        theirs.append(chunk.timings.tokens_per_second)
                    yield chunk

        sample = await measured(noting(), time.monotonic())
        assert sample.tokens == TOKENS
        ratios.append(1000 / sample.tpot / theirs[-1])
    assert statistics.median(ratios) == pytest.approx(1, abs=0.15), ratios


async def test_a_token_takes_the_server_as_much_work_as_llama_bench(serving, tmp_path: Path) -> None:
    """
    In processor time, which nobody else's work adds to. scripts/bench_measure.py compares tokens/s, on a quiet machine.
    Of both the cost of so many tokens more counts: without loading, prompt and start.
    """
    if "LLAMA_BENCH" not in os.environ:
        pytest.skip("LLAMA_BENCH names no program; ./scripts/test builds the engine and sets it")
    model = grown(tmp_path / "grown.gguf", layers=6)
    url = serving("-np", "1", "-t", "1", model=model)
    server = next(each for each in psutil.Process().children() if "--port" in each.cmdline())
    ratios = []
    for number in range(3):
        theirs = llama_bench(model, MANY) - llama_bench(model, FEW)
        few = await work_of(server, url, number, FEW)
        ratios.append((await work_of(server, url, number + 100, MANY) - few) / theirs)
    assert statistics.median(ratios) == pytest.approx(1, abs=0.4), ratios


def llama_bench(model: Path, tokens: int) -> float:
    """Seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = ["-m", str(model), "-p", "0", "-n", str(tokens), "-r", "1", "-t", "1", "--no-warmup", "-o", "json"]
    subprocess.run([os.environ["LLAMA_BENCH"], *words], capture_output=True, check=True, timeout=50)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime


async def work_of(server: psutil.Process, url: str, number: int, tokens: int) -> float:
    before = server.cpu_times().user
    prompt = Prompt((Message("user", f"question {number}"),), tokens)
    answer = at_server(url, model="m", key=None, software=LLAMA_SERVER).answer(prompt, may_cache=False)
    assert (await measured(answer, 0.0)).tokens == tokens
    return server.cpu_times().user - before
