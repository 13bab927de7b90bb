#!/usr/bin/env python3
"""
How fast models with 4-bit weights run on the built-in engine, against what it is meant to reach.

    [DLLAMA=…/dllama] python scripts/bench_dllama.py [--threads N] [--layers N] [--rounds N]
                                                     [--storage MEGABYTES] [--folder FOLDER]

Against distributed-llama if DLLAMA names the program, else against NumPy's products of floats. FOLDER is where models are
made, on the storage that is to be measured. Ends with 1 when something is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is loaded
sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.dllama_bench.kernels import kernels
from scripts.dllama_bench.programs import Measured, programs
from scripts.dllama_bench.storage import layers, mixture
from scripts.dllama_bench.taking import apart


@dataclasses.dataclass(frozen=True)
class Aim:
    """`is_most`: not more than the bound; else not less."""

    what: str
    found: float
    bound: float
    is_most: bool = False

    @property
    def is_reached(self) -> bool:
        return self.found <= self.bound if self.is_most else self.found >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.is_most else "≥"
        return f"{'PASS' if self.is_reached else 'FAIL'}  {self.found:5.2f} {sign} {self.bound:.2f}  {self.what}"


def main() -> int:
    asked = _options()
    multiplying = apart(kernels)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        measured = programs(folder, asked.layers, asked.threads, asked.rounds)
        reading, growing = layers(folder, asked.storage, asked.threads)
        fetching = mixture(folder, asked.storage, asked.threads)
    aims = [
        *_speeds(multiplying, measured),
        Aim("resident memory of weights, of their bytes in the file", measured.memory, 1.2, is_most=True),
        Aim("storage: read while answering, of its sequential speed", reading, 0.8),
        Aim("storage: growth of the program, of its budget", growing, 1.0, is_most=True),
        Aim("storage: read for a token of a mixture, of what it is sent to", fetching, 1.0, is_most=True),
    ]
    print(*aims, sep="\n")
    return 0 if all(aim.is_reached for aim in aims) else 1


def _speeds(multiplying: tuple[float, float], measured: Measured) -> list[Aim]:
    if measured.theirs is None:
        one, many = multiplying
        return [Aim("kernel for one token, of numpy on floats", one, 1.0), Aim("kernel for 32 tokens, of numpy on floats", many, 0.7)]
    ours, theirs = measured.ours, measured.theirs
    return [
        Aim("decode, of distributed-llama", ours.answer / theirs.answer, 1.0),
        Aim("prefill, of distributed-llama", ours.prompt / theirs.prompt, 0.7),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("threads", 1), ("layers", 16), ("rounds", 3), ("storage", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--folder", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
