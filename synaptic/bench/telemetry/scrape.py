"""
How full a server is, from its own /metrics (Prometheus text): requests at work, requests that wait, and its KV cache.

    llama-server --metrics   llamacpp:requests_processing, llamacpp:requests_deferred     it has no figure for its KV cache
    vLLM                     vllm:num_requests_running, vllm:num_requests_waiting, vllm:kv_cache_usage_perc (before: gpu_cache_usage_perc)
    node_exporter            node_cpu_seconds_total, node_memory_…, node_network_…         of a whole machine
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from synaptic.bench.fetch import fetched

LIMIT = 1 << 22  # bytes of a reply
WITHIN = 3.0  # seconds
RUNNING = ("llamacpp:requests_processing", "vllm:num_requests_running")
WAITING = ("llamacpp:requests_deferred", "vllm:num_requests_waiting")
KV = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
WRITTEN = ("llamacpp:tokens_predicted_total", "vllm:generation_tokens_total")


@dataclasses.dataclass(frozen=True)
class Sampled:
    """One value of a scrape. Counters keep their `_total`."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclasses.dataclass(frozen=True)
class Queue:
    """`kv`: the share of its KV cache that is in use; `written`: tokens so far, since it started. None: it does not say."""

    running: float
    waiting: float
    kv: float | None
    written: float | None


async def scrape(url: str, key: str | None = None) -> tuple[Sampled, ...]:
    """What `url` says; nothing where it says nothing that can be read."""
    return samples_of((await fetched(url, key, limit=LIMIT, within=WITHIN)).decode(errors="replace"))


def samples_of(text: str) -> tuple[Sampled, ...]:
    """Nothing where a line is none of that format."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        return tuple(
            Sampled(each.name, each.labels, float(each.value)) for family in text_string_to_metric_families(text) for each in family.samples
        )
    except (ValueError, KeyError, IndexError, AttributeError):  # what its parser makes of other text
        return ()


def queue_of(said: tuple[Sampled, ...]) -> Queue | None:
    """None: that is no server of models. Several engines behind one port are added up; the fullest KV cache counts."""
    running = list(_values(said, RUNNING))
    if not running:
        return None
    kv, written = list(_values(said, KV)), list(_values(said, WRITTEN))
    return Queue(sum(running), sum(_values(said, WAITING)), max(kv) if kv else None, sum(written) if written else None)


def _values(said: tuple[Sampled, ...], names: tuple[str, ...]) -> Iterator[float]:
    return (each.value for each in said if each.name in names)
