"""
How the layers of a distributed-llama model lie over workers in runs, each as long as its worker is fast. Pure.

Every token goes through all runs, one after another; a long prompt in batches, so that all workers are at work. Both
are shortest when the layers go to the fastest workers in proportion to their speed, and those that would only slow the
others down get none. The shipped model shows what several workers do, so each gets one. Sizes in bytes, times in seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.layout import kv_bytes
from synaptic.endpoint import Endpoint
from synaptic.planning.dllama_speed import answer_seconds, speed_of
from synaptic.planning.machine import Machine, Share

PACKED = 20 / 18  # of a Q40 weight's room in a worker of ours to that in the file
ROWS = 32  # tokens that go through at once
CLEARLY = 1.1  # times shorter is an answer that is worth leaving a worker idle


@dataclasses.dataclass(frozen=True)
class Laid:
    """`counts`: layers of each machine, in their order. `missing`: bytes for the layers that no one has room for."""

    counts: tuple[int, ...]
    missing: int = 0
    idle: tuple[Endpoint, ...] = ()  # left out because they are too slow to be of use


def lay(header: DllamaHeader, workers: Sequence[Machine], context: int, *, all_of_them: bool = False, must_use_all: bool = False) -> Laid:
    """
    `all_of_them`: the user named them; else those that would make an answer clearly longer get no layers.
    `must_use_all`: as many as there are layers get one, whatever it costs.
    """
    whole = _counted(header, workers, context, one_each=must_use_all)
    if all_of_them or must_use_all or whole.missing or any(worker.speed is None for worker in workers):
        return whole
    best, shortest = whole, answer_seconds(header, workers, whole.counts, context) / CLEARLY
    fastest = sorted(workers, key=lambda worker: -speed_of(worker))
    for count in range(1, len(workers)):
        chosen = {each.endpoint for each in fastest[:count]}
        found = _counted(header, workers, context, among=chosen)
        took = answer_seconds(header, workers, found.counts, context)
        if not found.missing and took < shortest:
            best, shortest = found, took
    return best


def layer_bytes(header: DllamaHeader, context: int) -> tuple[int, int]:
    """Of one layer at a worker: its weights, and its cache of keys and values."""
    packed = PACKED if header.quantization == "Q40" else 1
    return int(header.bytes_per_layer * packed), kv_bytes(header, 1, context) // max(header.layers, 1)


def shares_of_runs(header: DllamaHeader, workers: Sequence[Endpoint], counts: Sequence[int], context: int) -> tuple[Share, ...]:
    """This machine's first: embedding and output. Those of the file, but for rooms that a worker needs to compute in."""
    table = header.vocabulary * header.dim
    embedding = 4 * table
    outside = max(header.expected_bytes - header.header_bytes - header.layers * header.bytes_per_layer, 0)
    _, kv = layer_bytes(header, context)
    shares = [Share(None, 0, max(outside, embedding), 0, 0)]
    first = 0
    for worker, count in zip(workers, counts, strict=True):
        if count:
            shares.append(Share(worker, count, count * header.bytes_per_layer, count * kv, working_bytes(header, context), first))
        first += count
    return tuple(shares)


def working_bytes(header: DllamaHeader, context: int) -> int:
    """Rows of a batch and their attention scores."""
    wide = 4 * header.dim + 3 * max(header.hidden_dim, header.moe_hidden_dim) + 3 * header.heads * header.head_dim
    return 4 * ROWS * (wide + header.heads * min(context, header.context))


def room_for(header: DllamaHeader, worker: Machine, context: int) -> int | None:
    """Layers; None: its memory is not known, and taken as enough."""
    if worker.free is None:
        return None
    return max(worker.free - working_bytes(header, context), 0) // sum(layer_bytes(header, context))


def _counted(
    header: DllamaHeader, workers: Sequence[Machine], context: int, among: set[Endpoint | None] | None = None, *, one_each: bool = False
) -> Laid:
    """One layer after the other to whoever would have done with it first, among those that have room."""
    each = sum(layer_bytes(header, context))
    free = _free(header, workers, context)
    counts = [0] * len(workers)
    for layer in range(header.layers):
        able = _able(workers, free, each, among)
        if not able:
            return Laid(tuple(counts), missing=(header.layers - layer) * each)
        index = min(able, key=lambda index: (one_each and counts[index] > 0, (counts[index] + 1) / speed_of(workers[index])))
        counts[index] += 1
        left = free[_pocket(workers[index])]
        free[_pocket(workers[index])] = None if left is None else left - each
    idle = tuple(worker.endpoint for worker, count in zip(workers, counts, strict=True) if not count and worker.endpoint)
    return Laid(tuple(counts), idle=idle)


def _able(workers: Sequence[Machine], free: dict[str, int | None], each: int, among: set[Endpoint | None] | None) -> list[int]:
    def has_room(worker: Machine) -> bool:
        left = free[_pocket(worker)]
        return left is None or left >= each

    return [index for index, worker in enumerate(workers) if (among is None or worker.endpoint in among) and has_room(worker)]


def _free(header: DllamaHeader, workers: Sequence[Machine], context: int) -> dict[str, int | None]:
    """Of each memory, less what every worker in it needs to compute in."""
    free: dict[str, int | None] = {}
    for worker in workers:
        left = free.get(_pocket(worker), worker.free)
        free[_pocket(worker)] = None if left is None else left - working_bytes(header, context)
    return free


def _pocket(worker: Machine) -> str:
    return worker.memory or worker.name
