"""
Models of four times their memory budget, read from storage: how fast, as a share of reading the same file from end to end
in the same run; and of a mixture of experts, how much is read.

The system is asked to forget the file before each reading; where it does not (a RAM disk), the figures are memory's.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from scripts.dllama_bench.models import MIXTURE, WIDE, write
from scripts.dllama_bench.taking import apart, forget_peak, resident, seconds
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.local import LayerCache, needs
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.reading import PIECE
from synaptic.dllama.running import Cached, Fact
from synaptic.dllama.to_worker import CallOff

ROUNDS, TOKENS = 5, 3


def layers(folder: Path, megabytes: int, threads: int) -> tuple[float, float]:
    """The share of the storage's speed, and the share of the budget that the program grew by."""
    _write(folder, WIDE, megabytes)
    return apart(_layers, folder, threads)


def mixture(folder: Path, megabytes: int, threads: int) -> float:
    """The bytes that a token had read, as a share of its experts' and of the layers that did not stay."""
    _write(folder, MIXTURE, megabytes)
    return apart(_mixture, folder, threads)


def _layers(folder: Path, threads: int) -> tuple[float, float]:
    file = _warmed(folder)
    running, facts, budget, before = _opened(file, threads)
    plain, ours = [], []
    for position in range(1, ROUNDS + 1):
        plain.append(_sequential(file))
        ours.append(_answering(running, file, facts, position))
        print(f"  from end to end {plain[-1]:5.2f} GB/s   answering {ours[-1]:5.2f} GB/s")
    running.close()
    grown = resident("VmHWM") - before
    print(f"  layers that stayed {running.pinned} of {file.header.layers}; this program grew by {grown / 1e6:,.0f} MB")
    return statistics.median(ours) / statistics.median(plain), grown / budget


def _mixture(folder: Path, threads: int) -> float:
    file = _warmed(folder)
    running, facts, _, _ = _opened(file, threads)
    running.feed([1], 0)
    facts.clear()
    took = seconds(lambda: [running.feed([7 * position % 700], position) for position in range(1, 33)])
    running.close()
    found, header = [fact for fact in facts if isinstance(fact, Cached)], file.header
    read, needed = sum(each.read for each in found) / 32, header.layers * header.active_experts * header.bytes_per_expert
    streamed = (header.layers - running.pinned) * (header.bytes_per_layer - header.experts * header.bytes_per_expert)
    hits = sum(each.expert_hits for each in found) / max(sum(each.experts for each in found), 1)
    print(f"  {32 / took:.1f} tokens/s; {read / 1e6:,.1f} MB read for a token, whose experts have {needed / 1e6:,.1f} of ", end="")
    print(f"{header.layers * header.experts * header.bytes_per_expert / 1e6:,.0f} MB; {hits:.0%} of them were there")
    return read / (needed + streamed)


def _write(folder: Path, shape: DllamaHeader, megabytes: int) -> None:
    for name, count in (("small", 3), ("large", max(8, round(megabytes * 1e6 / shape.bytes_per_layer)))):
        apart(write, folder / f"{name}.m", shape, count)


def _warmed(folder: Path) -> ModelFile:
    """The large one. Kernels are compiled or loaded with the small one, and are no part of the budget."""
    small, file = ModelFile(folder / "small.m"), ModelFile(folder / "large.m")
    running = LayerCache(small, needs(small.header).least)
    running.open(CallOff(), lambda _: None)
    running.feed([1, 2, 3], 0)
    running.feed([1], 3)
    running.close()
    size, needed = file.header.file_bytes / 1e6, needs(file.header).whole / 1e6
    print(f"model of {size:,.0f} MB, {file.header.layers} layers; needs {needed:,.0f}, gets {size / 4:,.0f} MB")
    forget_peak()
    return file


def _opened(file: ModelFile, threads: int) -> tuple[LayerCache, list[Fact], int, int]:
    facts: list[Fact] = []
    before, budget = resident("VmHWM"), file.header.file_bytes // 4
    running = LayerCache(file, budget, threads=threads)
    running.open(CallOff(), facts.append)
    return running, facts, budget, before


def _answering(running: LayerCache, file: ModelFile, facts: list[Fact], position: int) -> float:
    """GB/s over a few tokens. The first one is not counted: it finds layers that were read ahead."""
    running.feed([1], 8 * position)
    _forget(file)
    facts.clear()
    began = time.perf_counter()
    for token in range(TOKENS):
        running.feed([1], 8 * position + token)
        _forget(file)
    took = time.perf_counter() - began
    return sum(fact.read for fact in facts if isinstance(fact, Cached)) / took / 1e9


def _sequential(file: ModelFile) -> float:
    """GB/s."""
    _forget(file)
    buffer, done = memoryview(bytearray(PIECE)), 0
    with file.path.open("rb", buffering=0) as source:
        os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        began = time.perf_counter()
        while count := source.readinto(buffer):
            done += count
    took = time.perf_counter() - began
    _forget(file)
    return done / took / 1e9


def _forget(file: ModelFile) -> None:
    with file.path.open("rb", buffering=0) as source:
        os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
