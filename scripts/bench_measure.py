#!/usr/bin/env python3
"""
What bench run says of decode, against llama-bench of the same build on the same model: within 5 %.

    LLAMA_SERVER=… LLAMA_BENCH=… python scripts/bench_measure.py [ROUNDS]

In each round llama-bench writes a few tokens several times, and so does a llama-server for our requests, timed as bench
run times them (its TPOT); who begins takes turns. Of all of each the fastest tenth counts: those nobody else disturbed,
so that it holds on a busy machine too. llama-bench asks no server and samples nothing, so a little less is right.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from grown import grown  # noqa: E402

from synaptic.bench.figures import percentile  # noqa: E402
from synaptic.bench.load.asked import at_server  # noqa: E402
from synaptic.bench.load.mixes import Prompt  # noqa: E402
from synaptic.bench.sample import measured  # noqa: E402
from synaptic.cluster.software import LLAMA_SERVER  # noqa: E402
from synaptic.engines.engine import Message  # noqa: E402

TOKENS, TIMES, DEPTH, THREADS, WITHIN = 8, 10, 24, 1, 0.05
UNDISTURBED = 10  # percent


@dataclasses.dataclass(frozen=True)
class Found:
    """Seconds of a token, each the mean of a few, in their order of size."""

    theirs: list[float]
    ours: list[float]

    def ratio(self, percent: int = UNDISTURBED) -> float:
        """Of our tokens/s to theirs."""
        return percentile(self.theirs, percent) / percentile(self.ours, percent)


def rounds(model: Path, url: str, count: int) -> Found:
    """One more than that: the first warms up, and does not count."""
    theirs: list[float] = []
    ours: list[float] = []
    for number in range(count + 1):
        if number % 2:
            one, other = llama_bench(model), asyncio.run(requests(url, number))
        else:
            other, one = asyncio.run(requests(url, number)), llama_bench(model)
        if number:
            theirs, ours = [*theirs, *one], [*ours, *other]
    return Found(sorted(theirs), sorted(ours))


def llama_bench(model: Path) -> list[float]:
    """With about as much before each token as ours have."""
    words = ["-m", str(model), "-p", "0", "-n", str(TOKENS), "-d", str(DEPTH), "-r", str(TIMES), "-t", str(THREADS), "-o", "json"]
    done = subprocess.run([os.environ["LLAMA_BENCH"], *words], capture_output=True, check=True, timeout=600)
    return [1 / float(rate) for rate in json.loads(done.stdout)[0]["samples_ts"]]


async def requests(url: str, number: int) -> list[float]:
    """Another question each time. One token more: the first belongs to the prompt."""
    found = []
    for turn in range(TIMES):
        prompt = Prompt((Message("user", f"question {number} {turn}"),), TOKENS + 1)
        asked = at_server(url, model="grown", key=None, software=LLAMA_SERVER)
        sample = await measured(asked.answer(prompt, may_cache=False), time.monotonic())
        assert sample.is_whole, sample.error
        assert sample.tokens == TOKENS + 1
        found.append((sample.tpot or 0.0) / 1000)
    return found


def serve(model: Path, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    words = ["-m", str(model), "--host", "127.0.0.1", "--port", "0", "--no-ui", "--offline", "-c", "512", "-np", "1", "-t", str(THREADS)]
    with log.open("wb") as output:
        process = subprocess.Popen([os.environ["LLAMA_SERVER"], *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    while not (found := re.search(r"listening on (http://\S+:\d+)", log.read_text(errors="replace"))):
        if process.poll() is not None:
            raise SystemExit(log.read_text(errors="replace")[-2000:])
        time.sleep(0.05)
    return process, found[1]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        model = grown(Path(folder) / "grown.gguf")
        process, url = serve(model, Path(folder) / "log")
        try:
            found = rounds(model, url, int(sys.argv[1]) if len(sys.argv) > 1 else 6)
        finally:
            process.kill()
            process.wait()
    ratio, median, rate = found.ratio(), found.ratio(50), 1 / percentile(found.theirs, UNDISTURBED)
    print(f"decode, bench run against llama-bench: {ratio:.3f} (fastest tenth of {len(found.ours)}; medians {median:.3f});", end=" ")
    print(f"llama-bench {rate:.1f} tok/s")
    return int(abs(ratio - 1) > WITHIN)


if __name__ == "__main__":
    raise SystemExit(main())
