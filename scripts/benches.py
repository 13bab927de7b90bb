"""
Every measurement of what the program is meant to reach, one after another, as ratios within one run each.

    scripts/bench [NAME…] [--write]        NAME: one of those below; --write: into docs/performance.md, all that were run

Quiet machines give quiet figures: run nothing beside it. Ends with 1 when something was missed.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
BLOCK = re.compile(r"^## (\w+)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BEGIN = "<!-- measured: written by scripts/bench, one block for each name -->\n"


@dataclasses.dataclass(frozen=True)
class Bench:
    name: str
    budget: str
    words: tuple[str, ...]  # the script and its arguments
    needs: tuple[str, ...] = ()  # variables that must name a program


LLAMA = ("LLAMA_SERVER", "GGML_RPC_SERVER")
BENCHES = (
    Bench("start", "`--version` and `--help` in 150 ms; the prompt in 400 ms and 80 MB", ("bench_start.py",)),
    Bench("discovery", "a hostile /24 proved in 1 s, a /22 in 3 s, a /16 that refuses in 8 s; nobody harmed", ("bench_discovery.py",)),
    Bench(
        "gateway",
        "99 % of llama-server's tokens/s at 1 stream, 97 % at 64; 2 ms to the first token; viewers under 1 %",
        ("bench_gateway.py",),
        LLAMA,
    ),
    Bench("split", "95 % of the best split of an exhaustive search", ("bench_split.py",), ("LLAMA_BENCH", "GGML_RPC_SERVER")),
    Bench("dllama", "at least the C++ worker's tokens/s; layers from storage at 80 % of its speed", ("bench_dllama.py",)),
    Bench("measure", "bench run says what llama-bench says of decode, within 5 %", ("bench_measure.py",), ("LLAMA_SERVER", "LLAMA_BENCH")),
    Bench("cache", "names of tensors at 1 GB/s of one core", ("bench_cache.py",)),
    Bench("relay", "a pulled cable noticed within seconds, at a price that is printed", ("bench_relay.py",), (*LLAMA, "LLAMA_BENCH")),
    Bench(
        "soak",
        "every answer whole, or an error that names what failed; a death named in 2 s, serving in 5 s and the load; nothing left",
        ("soak.py", "--minutes", "30", "--prompts", "100000", "--seed", "7"),
        LLAMA,
    ),
)


def main() -> int:
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")]
    unknown = set(wanted) - {bench.name for bench in BENCHES}
    if unknown or any(word.startswith("-") and word != "--write" for word in sys.argv[1:]):
        print(__doc__, "    " + " ".join(bench.name for bench in BENCHES), sep="\n", file=sys.stderr)
        return 2
    missed = []
    for bench in BENCHES:
        if not wanted or bench.name in wanted:
            printed, is_reached = _run(bench)
            missed += [] if is_reached else [bench.name]
            if "--write" in sys.argv[1:]:
                _write(bench, printed)
    print(f"\nmissed: {', '.join(missed)}" if missed else "\neverything was reached")
    return int(bool(missed))


def _run(bench: Bench) -> tuple[str, bool]:
    print(f"\n== {bench.name}: {bench.budget}", flush=True)
    if absent := [name for name in bench.needs if not os.environ.get(name)]:
        print(f"not measured: {', '.join(absent)} names no program. try: synaptic engine install llama.cpp")
        return "", False
    began, lines = time.monotonic(), []
    with subprocess.Popen(
        [sys.executable, ROOT / "scripts" / bench.words[0], *bench.words[1:]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as program:
        assert program.stdout
        for line in program.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    return "".join(lines), program.returncode == 0 and not re.search(r"NOT reached|missed", "".join(lines))


def _write(bench: Bench, printed: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    blocks = {found[1]: found[0] for found in BLOCK.finditer(rest)}
    blocks[bench.name] = (
        f"## {bench.name}\n\nThe aim: {bench.budget}.\n\n`scripts/bench {bench.name}` on {_machine()}:\n\n```text\n{_bare(printed)}```\n\n"
    )
    order = [each.name for each in BENCHES if each.name in blocks]
    PAGE.write_text(head + BEGIN + "\n" + "".join(blocks[name] for name in order).rstrip() + "\n", encoding="utf-8")


def _bare(printed: str) -> str:
    """Without what only this machine has: its folders."""
    return printed.replace(str(ROOT), "").replace(str(Path.home()), "~")


def _machine() -> str:
    cores, memory = psutil.cpu_count() or 1, psutil.virtual_memory().total
    busy = os.getloadavg()[0]
    return (
        f"{cores} cores ({platform.machine()}), {memory / (1 << 30):.0f} GiB, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, {datetime.date.today():%Y-%m-%d}, load {busy:.1f} at the end"
    )


if __name__ == "__main__":
    raise SystemExit(main())
