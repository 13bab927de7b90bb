"""
What other benchmarks of servers wrote, as a measurement.

    vllm bench serve --save-result [--save-detailed]     one object; with details a list of each time of each request
    guidellm run --output kind=json                      {"metadata": {"version": 2}, "benchmarks": [{"config": {"strategy"}, "requests"}]}

Their words mean nearly the same: vLLM's first token is the first event that has a choice, even an empty one, and a time
for each output token of guidellm's includes the first; where requests are listed, the times are made from those anew.
"""

from __future__ import annotations

import calendar
import dataclasses
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from synaptic import __version__
from synaptic.bench.figures import ENOUGH, Figure
from synaptic.bench.load.measurement import point_of_runs, run_of
from synaptic.bench.result import METRICS, MOST_ERRORS, TIMES, Identity, Limits, LoadPoint, Result, Run, Software
from synaptic.bench.sample import DEFINITIONS, Sample
from synaptic.errors import UsageError
from synaptic.terminal import one_line

NO_LIMITS = Limits("none", None, None)
Values = Mapping[str, Any]


def is_vllm(document: object) -> bool:
    return isinstance(document, dict) and "request_throughput" in document and "completed" in document


def is_guidellm(document: object) -> bool:
    return isinstance(document, dict) and isinstance(document.get("benchmarks"), list) and "metadata" in document


def from_vllm(document: Values, path: Path) -> Result:
    """Raises UsageError."""
    try:
        point = _point_of_vllm(document)
        at = float(calendar.timegm(time.strptime(str(document["date"]), "%Y%m%d-%H%M%S")))
        software = Software("vllm bench serve", "", one_line(str(document.get("backend", "")), 40))
        return _result(document, path, at, str(document["model_id"]), software, (point,))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise UsageError(f"{path} is not what vllm bench serve writes", hint="vllm bench serve … --save-result --save-detailed") from error


def from_guidellm(document: Values, path: Path) -> Result:
    """Raises UsageError."""
    try:
        benchmarks = document["benchmarks"]
        points = tuple(map(_point_of_guidellm, benchmarks))
        about, asked = document["metadata"], benchmarks[0]["config"]["backend"]
        software = Software("guidellm", one_line(str(about.get("guidellm_version", "")), 40), one_line(str(asked.get("target", "")), 200))
        return _result(document, path, float(benchmarks[0]["start_time"]), str(asked.get("model") or "not named"), software, points)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise UsageError(f"{path} is not what guidellm writes", hint="guidellm run … --output kind=json,path=FILE") from error


def _result(document: Values, path: Path, at: float, model: str, software: Software, points: tuple[LoadPoint, ...]) -> Result:
    kind = software.engine.split()[0]
    return Result(
        id=f"{kind}-{hashlib.sha256(repr(document).encode()).hexdigest()[:12]}",
        at=at,
        tool=__version__,
        model=Identity(one_line(model, 200), None, about=f"{software.engine} names it only"),
        profile=None,
        software=software,
        route=None,
        config={"imported": path.name},
        limits=NO_LIMITS,
        points=points,
        definitions=DEFINITIONS,
        telemetry={},
    )


def _point_of_vllm(said: Values) -> LoadPoint:
    rate = None if str(said["request_rate"]) == "inf" else float(said["request_rate"])
    most = said.get("max_concurrency") or said.get("num_prompts") or 1
    seconds = float(said["duration"])
    if "ttfts" in said:
        run = run_of(0, seconds, list(_samples_of_vllm(said)), NO_LIMITS)
        return point_of_runs("vllm bench serve", None if rate else int(most), rate, [run])
    return _summed_up(said, None if rate else int(most), rate, seconds)


def _samples_of_vllm(said: Values) -> Iterator[Sample]:
    starts: Sequence[float] = said.get("start_times") or [0.0] * len(said["ttfts"])
    listed = zip(said["ttfts"], said["itls"], said["input_lens"], said["output_lens"], said["errors"], starts, strict=True)
    for first, gaps, read, written, error, start in listed:
        spread = tuple(_ms(gap) for gap in gaps)
        failed, ttft = one_line(str(error), 200) if error else "", _ms(first)
        has_begun = not failed or bool(gaps)
        yield Sample(
            at=_ms(start - min(starts)),
            ttft=ttft if has_begun else None,
            e2e=ttft + sum(spread) if has_begun else None,
            itl=spread,
            prompt_tokens=int(read),
            tokens=int(written),
            cached_tokens=None,
            error=failed,
            truncated=bool(failed and gaps),
        )


def _summed_up(said: Values, concurrency: int | None, rate: float | None, seconds: float) -> LoadPoint:
    """Without its details there is one mean of each, and no interval."""
    done, failed = int(said["completed"]), int(said.get("failed", 0))
    times = {metric: _figure(said, f"{'e2el' if metric == 'e2e' else metric}_ms", done) for metric in TIMES}
    throughput, goodput = float(said["output_throughput"]), said.get("request_goodput")
    figures = times | {"throughput": Figure(1, throughput, None), "goodput": Figure(0, None, None)}
    if goodput is not None:
        figures["goodput"] = Figure(1, float(goodput), None)
    run = Run(0, seconds, {metric: figures[metric].mean for metric in METRICS})
    whole = point_of_runs("vllm bench serve", concurrency, rate, [run])
    sizes = {"prompt_tokens": said["total_input_tokens"], "completion_tokens": said["total_output_tokens"]}
    counts = {name: Figure(done, total / done if done else None, None) for name, total in sizes.items()}
    why = f"{failed} of {done + failed} requests failed" if failed > MOST_ERRORS * (done + failed) else ""
    changed: dict[str, Any] = figures | counts
    return dataclasses.replace(whole, **changed, requests=done + failed, errors=failed, why_not=why)


def _figure(said: Values, name: str, count: int) -> Figure:
    if f"mean_{name}" not in said:
        return Figure(0, None, None)
    found = {f"p{rank}": said.get("median_" + name if rank == 50 else f"p{rank}_{name}") for rank in ENOUGH}
    enough = {rank: value for rank, value in found.items() if value is not None and count >= ENOUGH[int(rank[1:])]}
    return Figure(count, float(said[f"mean_{name}"]), None, **{rank: float(value) for rank, value in enough.items()})


def _point_of_guidellm(benchmark: Values) -> LoadPoint:
    strategy, listed = benchmark["config"]["strategy"], benchmark["requests"]
    kind = str(strategy["type_"])
    rate = float(strategy["rate"]) if kind in ("constant", "poisson") else None
    most = None if rate or kind == "trace" else int(strategy.get("streams") or strategy.get("max_concurrency") or 1)
    origin = float(benchmark["start_time"])
    samples = [_sample_of_guidellm(each, origin, status) for status in ("successful", "incomplete", "errored") for each in listed[status]]
    return point_of_runs(f"guidellm {kind}", most, rate, [run_of(0, float(benchmark["duration"]), samples, NO_LIMITS)])


def _sample_of_guidellm(said: Values, origin: float, status: str) -> Sample:
    moments = said["info"]["timings"]
    start, first, last = (moments.get(name) for name in ("request_start", "first_token_iteration", "last_token_iteration"))
    has_begun = None not in (start, first, last)
    error = "" if status == "successful" else one_line(str(said["info"].get("error") or status), 200)
    return Sample(
        at=_ms((start or origin) - origin),
        ttft=_ms(first - start) if has_begun else None,
        e2e=_ms(last - start) if has_begun else None,
        itl=(),  # it keeps no gaps
        prompt_tokens=said["prompt_tokens"],
        tokens=int(said["output_tokens"] or 0),
        cached_tokens=said.get("cached_tokens"),
        error=error,
        truncated=bool(error and has_begun),
    )


def _ms(seconds: float) -> float:
    return round(float(seconds) * 1000, 3)
