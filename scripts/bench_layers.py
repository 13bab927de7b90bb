#!/usr/bin/env python3
"""
How fast a model of four times its memory budget runs from this machine's storage: bytes of weights per second of
answering, as a share of what the storage gives when the same file is read from end to end, in the same run.

    python scripts/bench_layers.py [MEGABYTES] [--folder FOLDER] [--threads N]

FOLDER is where the model is made, on the storage that is to be measured. The system is asked to forget the file before
each reading; where it does not (a RAM disk), the figures are memory's.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from synaptic.dllama.header import DllamaHeader  # noqa: E402
from synaptic.dllama.layout import Tensor  # noqa: E402
from synaptic.dllama.local import LayerCache, needs  # noqa: E402
from synaptic.dllama.model_file import ModelFile  # noqa: E402
from synaptic.dllama.model_writer import sized, write_model  # noqa: E402
from synaptic.dllama.reading import PIECE  # noqa: E402
from synaptic.dllama.running import Cached, Fact, Pass  # noqa: E402
from synaptic.dllama.to_worker import CallOff  # noqa: E402

AIM = 0.8
SHAPE = {"dim": 2048, "hidden_dim": 5632, "heads": 32, "kv_heads": 4, "head_dim": 64, "vocabulary": 1024, "context": 512}
LAYER_MEGABYTES = 24.8
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("megabytes", nargs="?", type=int, default=1500)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        model, small = Path(folder) / "layers.m", Path(folder) / "small.m"
        write_model(small, header(3), content)
        warm(small)
        write_model(model, header(max(8, round(asked.megabytes / LAYER_MEGABYTES))), content)
        compare(model, asked.threads)


def compare(model: Path, threads: int) -> None:
    file = ModelFile(model)
    budget = file.header.file_bytes // 4
    print(f"model {file.header.file_bytes / 1e6:,.0f} MB, {file.header.layers} layers; needs {needs(file.header).whole / 1e6:,.0f} MB")
    print(f"budget {budget / 1e6:,.0f} MB, {threads} thread{'s' * (threads > 1)} computing")
    facts: list[Fact] = []
    before = peak()
    running = LayerCache(file, budget, threads=threads)
    running.open(CallOff(), facts.append)
    plain: list[float] = []
    ours: list[float] = []
    for position in range(1, ROUNDS + 1):
        plain.append(sequential(model))
        ours.append(answering(running, model, facts, position))
        print(f"  from end to end {plain[-1]:5.2f} GB/s   answering {ours[-1]:5.2f} GB/s")
    running.close()
    grown = peak() - before
    ratio = statistics.median(ours) / statistics.median(plain)
    print(f"layers that stayed {running.pinned} of {file.header.layers}; this program grew by {grown / 1e6:,.0f} MB")
    print(f"ratio {ratio:.2f}, the aim is {AIM}: {'reached' if ratio >= AIM else 'missed'}")


def warm(model: Path) -> None:
    """Kernels are compiled or loaded, and are no part of the budget."""
    file = ModelFile(model)
    running = LayerCache(file, needs(file.header).least)
    running.open(CallOff(), lambda _: None)
    running.feed([1, 2, 3], 0)
    running.feed([1], 3)
    running.close()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew


def peak() -> int:
    """Bytes that were resident at once."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def answering(running: LayerCache, model: Path, facts: list[Fact], position: int) -> float:
    """GB/s over a few tokens. The first one is not counted: it finds layers that were read ahead."""
    facts.clear()
    running.feed([1], 8 * position)
    forget(model)
    facts.clear()
    began = time.perf_counter()
    for token in range(3):
        running.feed([1], 8 * position + token)
        forget(model)
    took = time.perf_counter() - began
    assert any(isinstance(fact, Pass) for fact in facts)
    return sum(fact.read for fact in facts if isinstance(fact, Cached)) / took / 1e9


def sequential(model: Path) -> float:
    """GB/s."""
    forget(model)
    buffer, done = memoryview(bytearray(PIECE)), 0
    with model.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        began = time.perf_counter()
        while count := file.readinto(buffer):
            done += count
    took = time.perf_counter() - began
    forget(model)
    return done / took / 1e9


def forget(model: Path) -> None:
    with model.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def header(layers: int) -> DllamaHeader:
    fixed = {"experts": 0, "active_experts": 0, "activation": 1, "moe_hidden_dim": 0, "version": 0, "header_bytes": 0, "file_bytes": 0}
    rope = {"rope_type": 0, "rope_theta": 10_000, "rope_scaling": 1, "rope_low_frequency": 0, "rope_high_frequency": 0}
    other = {"rope_original_context": 0, "norm_epsilon": 1e-5, "quantization": "Q40", "architecture": "llama", "layers": layers}
    return sized(DllamaHeader(**SHAPE, **fixed, **rope, **other))  # type: ignore[arg-type]  # by their names


def content(tensor: Tensor) -> Iterator[bytes]:
    """Random, for a storage may pack zeros; every scale is a small number."""
    if tensor.kind == "F32":
        yield bytes(tensor.bytes)
        return
    source = random.Random(tensor.offset)
    row = b"".join(b"\0\x1c" + source.randbytes(16) for _ in range(tensor.columns // 32))
    for _ in range(tensor.rows):
        yield row


if __name__ == "__main__":
    main()
