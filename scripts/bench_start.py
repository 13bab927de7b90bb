#!/usr/bin/env python3
"""
How long the program takes to say its version, its help, and to show its prompt, and what memory it has then; beside
Python itself starting, in turn with it. Medians of one run.

    python scripts/bench_start.py [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import psutil

MAIN = Path(__file__).resolve().parents[1] / "main.py"
MILLISECONDS = {"--version": 150, "--help": 150, "the prompt": 400}
MEMORY = 80  # MB, with the prompt shown


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    memory: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home, "SYNAPTICLLAMAS_HOME": home, "OLLAMA_HOST": "127.0.0.1:1", "TERM": "xterm"}
        take: dict[str, Callable[[], float]] = {
            "python": lambda: _once(["-c", "pass"], environment),
            "--version": lambda: _once([str(MAIN), "--version"], environment),
            "--help": lambda: _once([str(MAIN), "--help"], environment),
            "the prompt": lambda: _to_the_prompt(environment, memory),
        }
        taken: dict[str, list[float]] = {name: [] for name in take}
        for _ in range(rounds + 1):
            for name, once in take.items():
                taken[name].append(once())
    middle = {name: statistics.median(times[1:]) * 1000 for name, times in taken.items()}  # the first compiles
    print(f"{'':12}{'ms':>7}{'allowed':>9}{'times Python':>14}")
    for name, allowed in MILLISECONDS.items():
        verdict = "reached" if middle[name] <= allowed else "NOT reached"
        print(f"{name:12}{middle[name]:7.0f}{allowed:9}{middle[name] / middle['python']:14.1f}  {verdict}")
    most = max(memory) / 1e6
    print(f"memory at the prompt: {most:.0f} MB of {MEMORY}: {'reached' if most <= MEMORY else 'NOT reached'}")
    return 0


def _once(words: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _to_the_prompt(environment: dict[str, str], memory: list[float]) -> float:
    began = time.perf_counter()
    shell = pexpect.spawn(sys.executable, [str(MAIN)], env=environment, timeout=30)
    shell.expect("synaptic>")
    taken = time.perf_counter() - began
    memory.append(psutil.Process(shell.pid).memory_info().rss)
    shell.sendeof()
    shell.expect(pexpect.EOF)
    shell.close()
    return taken


if __name__ == "__main__":
    raise SystemExit(main())
