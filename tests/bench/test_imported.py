"""What vllm bench serve 0.33 and guidellm 0.8.1 wrote of a llama-server with the demo model, read as measurements."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from synaptic.bench.imports.imported import imported
from synaptic.bench.kept import problem_of, read, write
from synaptic.errors import UsageError

RECORDED = Path(__file__).parents[1] / "data" / "bench"
FILES = ("vllm-detailed.json", "vllm-summed-up.json", "guidellm.json")


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / name).read_text())
    return found


@pytest.mark.parametrize("name", FILES)
def test_it_is_a_measurement_like_ours(tmp_path: Path, name: str) -> None:
    result = imported(recorded(name), RECORDED / name)
    write(result, tmp_path / "a.json")
    assert problem_of(json.loads((tmp_path / "a.json").read_text())) == ""
    assert read(tmp_path / "a.json") == result
    assert result.model.name == "demo"
    assert result.at > 1.7e9


def test_the_single_requests_of_vllm_give_its_own_means() -> None:
    said = recorded("vllm-detailed.json")
    (point,) = imported(said, RECORDED).points
    assert (point.concurrency, point.rate, point.requests, point.errors) == (2, None, 6, 0)
    for metric, theirs in (("ttft", "ttft"), ("tpot", "tpot"), ("itl", "itl"), ("e2e", "e2el")):
        assert point.of(metric).mean == pytest.approx(said[f"mean_{theirs}_ms"], rel=1e-2), metric
    assert point.throughput.mean == pytest.approx(said["output_throughput"])
    assert point.cache.unknown == 6  # it does not ask


def test_what_vllm_summed_up_has_its_means_and_no_interval() -> None:
    said = recorded("vllm-summed-up.json")
    (point,) = imported(said, RECORDED).points
    assert (point.concurrency, point.rate, point.requests) == (None, 20.0, 6)
    assert point.ttft.mean == said["mean_ttft_ms"]
    assert (point.ttft.p50, point.ttft.p99, point.ttft.ci95) == (None, None, None)  # six values state no percentile
    assert point.throughput.mean == said["output_throughput"]
    assert point.completion_tokens.mean == pytest.approx(81 / 6)


def test_many_summed_up_requests_keep_the_percentiles_that_they_can_state() -> None:
    said = recorded("vllm-summed-up.json") | {"completed": 150, "failed": 50, "p90_ttft_ms": 300.0}
    (point,) = imported(said, RECORDED).points
    assert (point.ttft.p50, point.ttft.p90, point.ttft.p99) == (said["median_ttft_ms"], 300.0, None)
    assert (point.requests, point.errors, point.why_not) == (200, 50, "50 of 200 requests failed")


def test_a_request_of_vllm_that_failed_is_no_speed() -> None:
    said = recorded("vllm-detailed.json")
    said["errors"][0], said["itls"][0] = "connection reset", []
    (point,) = imported(said, RECORDED).points
    assert (point.errors, point.truncated, point.ttft.n) == (1, 0, 5)
    assert point.why_not == "1 of 6 requests failed or broke off"


def test_guidellm_is_read_by_its_moments() -> None:
    said = recorded("guidellm.json")
    (point,) = imported(said, RECORDED).points
    theirs = said["benchmarks"][0]["requests"]["successful"]
    assert (point.mix, point.concurrency, point.requests) == ("guidellm concurrent", 2, 4)
    assert point.ttft.mean == pytest.approx(sum(each["time_to_first_token_ms"] for each in theirs) / 4, rel=1e-3)
    assert point.tpot.mean == pytest.approx(sum(each["inter_token_latency_ms"] for each in theirs) / 4, rel=1e-3)
    assert point.cache.prompt_tokens == sum(each["prompt_tokens"] for each in theirs)


def test_guidellms_failures_count() -> None:
    said = recorded("guidellm.json")
    requests = said["benchmarks"][0]["requests"]
    failed = copy.deepcopy(requests["successful"].pop())
    failed["info"]["timings"] |= {"first_token_iteration": None, "last_token_iteration": None}
    requests["errored"].append(failed | {"output_tokens": None})
    (point,) = imported(said, RECORDED).points
    assert (point.requests, point.errors, point.ttft.n) == (4, 1, 3)


@pytest.mark.parametrize("name", FILES)
def test_what_lacks_something_is_refused(name: str) -> None:
    said = recorded(name)
    for key in ("model_id", "request_rate", "duration"):
        said.pop(key, None)
    for each in said.get("benchmarks", []):
        del each["config"]
    with pytest.raises(UsageError, match="is not what (vllm bench serve|guidellm) writes"):
        imported(said, Path("x.json"))
