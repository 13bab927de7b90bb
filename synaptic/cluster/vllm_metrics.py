"""
What vLLM writes at /metrics, in our words. Pure.

    requests        vllm:num_requests_running, vllm:num_requests_waiting
    KV cache        vllm:kv_cache_usage_perc                  before 0.9.1: gpu_cache_usage_perc, gone in 0.13
    between tokens  vllm:inter_token_latency_seconds          before 0.11: time_per_output_token_seconds
    first token     vllm:time_to_first_token_seconds
    prefix cache    vllm:prefix_cache_hits, _queries          before 0.9.1: gpu_prefix_cache_hits, _queries; of V0 a hit rate
    preemptions     vllm:num_preemptions

Counters end in `_total`. Each has the labels model_name and, for each engine of a data parallel server, engine: what
is counted is added up, a part of a whole is the engines' mean.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from synaptic.cluster.server_load import Percentiles, ServerLoad

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

PREFIX = "vllm:"
MOST_LINES = 5000  # with names that we read: sixteen engines have two thousand
LONGEST_LINE = 4096  # characters
_LARGEST = 1e15
_RUNNING, _WAITING, _PREEMPTIONS = "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:num_preemptions_total"
_KV = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")  # the newer name first: some versions write both
_HITS = (
    ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"),
    ("vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_queries_total"),
)
_HIT_RATE = "vllm:gpu_prefix_cache_hit_rate"
_TTFT = ("vllm:time_to_first_token_seconds_bucket",)
_ITL = ("vllm:inter_token_latency_seconds_bucket", "vllm:time_per_output_token_seconds_bucket")
_READ = frozenset((_RUNNING, _WAITING, _PREEMPTIONS, _HIT_RATE, *_KV, *_TTFT, *_ITL, *(name for pair in _HITS for name in pair)))


def load_of(text: str) -> ServerLoad | None:
    """None: no vLLM wrote this. What is no line of it is passed over."""
    samples = _Samples(list(_samples(text)))
    if not samples.all:
        return None
    return ServerLoad(
        running=round(samples.total(_RUNNING) or 0),
        waiting=round(samples.total(_WAITING) or 0),
        kv_used=next((value for name in _KV if (value := samples.part(name)) is not None), None),
        ttft=next(filter(None, map(samples.percentiles, _TTFT)), None),
        itl=next(filter(None, map(samples.percentiles, _ITL)), None),
        prefix_hits=next((part for pair in _HITS if (part := samples.ratio(*pair)) is not None), samples.part(_HIT_RATE)),
        preemptions=None if (count := samples.total(_PREEMPTIONS)) is None else round(count),
    )


def quantile(buckets: Sequence[tuple[float, float]], part: float) -> float | None:
    """
    As Prometheus reckons: even within a bucket, and the last finite bound where the last bucket holds it.

    `buckets`: (upper bound, how many up to it), by bound, the last bound being infinite.
    """
    whole = buckets[-1][1] if buckets else 0.0
    if whole <= 0:
        return None
    below, before = 0.0, 0.0
    for bound, count in buckets:
        if count >= part * whole:
            return below if math.isinf(bound) else below + (bound - below) * (part * whole - before) / (count - before)
        below, before = bound, count
    return None


@dataclasses.dataclass(frozen=True)
class _Samples:
    all: Sequence[Sample]

    def total(self, name: str) -> float | None:
        values = [sample.value for sample in self.all if sample.name == name]
        return sum(values) if values else None

    def part(self, name: str) -> float | None:
        """V0 said -1 for what it did not know."""
        values = [sample.value for sample in self.all if sample.name == name and 0 <= sample.value <= 1]
        return sum(values) / len(values) if values else None

    def ratio(self, above: str, below: str) -> float | None:
        hits, queries = self.total(above), self.total(below)
        return min(hits / queries, 1.0) if hits is not None and queries else None

    def percentiles(self, name: str) -> Percentiles | None:
        counts: dict[float, float] = {}
        for sample in self.all:
            if sample.name == name and (bound := _bound(sample.labels.get("le", ""))) is not None:
                counts[bound] = counts.get(bound, 0.0) + sample.value
        buckets = sorted(counts.items())
        if not buckets or not math.isinf(buckets[-1][0]):
            return None
        middle, most = quantile(buckets, 0.5), quantile(buckets, 0.9)
        return None if middle is None or most is None else Percentiles(round(middle, 6), round(most, 6))


def _samples(text: str) -> Iterator[Sample]:
    """Those that we read. One line at a time: a broken one costs itself only."""
    from prometheus_client.parser import text_string_to_metric_families

    for line in _lines(text):
        try:
            families = list(text_string_to_metric_families(line))
        except (ValueError, IndexError, KeyError):  # it raises whatever its slicing meets
            continue
        yield from (sample for family in families for sample in family.samples if 0 <= abs(sample.value) <= _LARGEST)


def _lines(text: str) -> Iterable[str]:
    found = 0
    for line in text.splitlines():
        if line.startswith(PREFIX) and len(line) <= LONGEST_LINE and _name(line) in _READ:
            yield line + "\n"
            found += 1
            if found >= MOST_LINES:
                return


def _name(line: str) -> str:
    return line.partition("{")[0].partition(" ")[0]


def _bound(text: str) -> float | None:
    try:
        bound = float(text)
    except ValueError:
        return None
    return bound if bound >= 0 else None
