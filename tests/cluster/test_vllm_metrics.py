"""vLLM's numbers, by the names of several versions, and what is none of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vllms import METRICS, OLDER_METRICS

from synaptic.cluster.server_load import Percentiles, ServerLoad
from synaptic.cluster.vllm_metrics import LONGEST_LINE, MOST_LINES, load_of, quantile

NEW, OLD = METRICS.read_text(), OLDER_METRICS.read_text()


def line(name: str, value: object, **labels: str) -> str:
    written = ",".join(f'{key}="{each}"' for key, each in labels.items())
    return f"vllm:{name}{{{written}}} {value}\n"


@pytest.mark.parametrize("text", [NEW, OLD], ids=["0.32.0", "0.8.5"])
def test_the_names_of_each_version_mean_the_same(text: str) -> None:
    """Two answers of ten tokens in all; the histograms have only so many buckets."""
    load = load_of(text)
    assert load is not None
    assert (load.running, load.waiting, load.kv_used, load.prefix_hits, load.preemptions) == (0, 0, 0.0, 0.0, 0)
    assert load.ttft is not None
    assert load.itl is not None
    assert 0.02 <= load.ttft.p50 <= 0.08  # 0.089 s in all
    assert load.itl.p50 <= 0.134 / 8 <= load.itl.p90


def test_versions_that_write_both_names_are_read_by_the_newer() -> None:
    both = line("gpu_cache_usage_perc", 0.9) + line("kv_cache_usage_perc", 0.25)
    assert load_of(both) == ServerLoad(kv_used=0.25)
    counters = line("gpu_prefix_cache_queries_total", 10) + line("gpu_prefix_cache_hits_total", 9)
    assert (load_of(counters) or ServerLoad()).prefix_hits == 0.9
    assert (load_of(line("gpu_prefix_cache_hit_rate", 0.5)) or ServerLoad()).prefix_hits == 0.5
    assert (load_of(line("gpu_prefix_cache_hit_rate", -1)) or ServerLoad()).prefix_hits is None


def test_what_the_engines_of_one_server_count_is_added_up() -> None:
    text = "".join(
        line("num_requests_running", 2 + engine, engine=str(engine), model_name="m")
        + line("num_requests_waiting", 1, engine=str(engine), model_name="m")
        + line("kv_cache_usage_perc", engine / 2, engine=str(engine), model_name="m")
        + line("time_to_first_token_seconds_bucket", 10 * engine, engine=str(engine), le="0.1")
        + line("time_to_first_token_seconds_bucket", 10, engine=str(engine), le="+Inf")
        for engine in range(2)
    )
    assert load_of(text) == ServerLoad(running=5, waiting=2, kv_used=0.25, ttft=Percentiles(0.1, 0.1))


def test_a_histogram_is_read_as_prometheus_reads_it() -> None:
    """Even within a bucket; beyond the last finite bound nothing is known but that bound."""
    buckets = [(0.1, 0.0), (0.2, 10.0), (0.4, 20.0), (math.inf, 20.0)]
    assert quantile(buckets, 0.5) == pytest.approx(0.2)
    assert quantile(buckets, 0.25) == pytest.approx(0.15)
    assert quantile(buckets, 0.9) == pytest.approx(0.36)
    assert quantile([(0.1, 1.0), (math.inf, 10.0)], 0.5) == 0.1
    assert quantile([(0.1, 0.0), (math.inf, 0.0)], 0.5) is None
    assert quantile([], 0.5) is None


def test_what_no_vllm_wrote_is_no_load() -> None:
    for text in ("", "<html>", "llamacpp:requests_processing 1\n", "vllm:num_requests_running\n", "vllm:unknown 1\n", "\x00" * 100):
        assert load_of(text) is None


@pytest.mark.parametrize(
    "broken",
    [
        'vllm:num_requests_running{a="',
        "vllm:num_requests_running{",
        "vllm:num_requests_running{} x",
        "vllm:num_requests_running} 3",
        'vllm:num_requests_running{le="a",,} 3 4 5',
        "vllm:num_requests_running NaN",
        "vllm:num_requests_running 1e300",
        f'vllm:num_requests_running{{a="{"x" * LONGEST_LINE}"}} 3',
        'vllm:time_to_first_token_seconds_bucket{le="often"} 3',
        'vllm:time_to_first_token_seconds_bucket{le="0.1"} 3',
    ],
)
def test_a_broken_line_costs_itself_only(broken: str) -> None:
    assert load_of(f"{broken}\n{line('num_requests_running', 3)}{broken}\n") == ServerLoad(running=3)


def test_a_text_without_end_is_read_to_a_limit() -> None:
    assert (load_of(line("num_requests_running", 1) * (MOST_LINES + 5000)) or ServerLoad()).running == MOST_LINES


@given(st.text(max_size=300))
def test_nothing_that_a_server_writes_breaks_us(text: str) -> None:
    load_of(f"vllm:num_requests_running{text}\nvllm:time_to_first_token_seconds_bucket{{le={text}")


def test_the_summary_says_what_is_known() -> None:
    told = ServerLoad(1, 2, 0.42, Percentiles(0.12, 0.4), Percentiles(0.03, 1.5), 0.5, 7)
    assert told.summary == (
        "KV cache 42% · first token 120 ms (p90 400 ms) · between tokens 30 ms (p90 1.5 s) · prefix hits 50% · 7 preempted"
    )
    assert ServerLoad().summary == ""
