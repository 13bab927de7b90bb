"""
What `llama-bench -o json` wrote, as a measurement.

    [{"model_filename": "…", "model_size": 0, "n_prompt": 512, "n_gen": 0, "avg_ts": 812.3, "samples_ts": [810.1, …], "build_commit": "…"}]

It asks no server and samples nothing: its tokens/s are the upper end of what a server can reach, and the only figure.
"""

from __future__ import annotations

import calendar
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synaptic import __version__
from synaptic.bench.figures import Figure, figure
from synaptic.bench.result import METRICS, Cache, Identity, Limits, LoadPoint, Result, Run, Software
from synaptic.bench.sample import DEFINITIONS
from synaptic.errors import UsageError
from synaptic.terminal import one_line

NOTHING = Figure(0, None, None)
SAID = "tokens/s of llama-bench: without a server, without sampling, of the kernels alone"


def from_llama_bench(document: object, path: Path) -> Result:
    """Raises UsageError."""
    tests = document if isinstance(document, list) else []
    try:
        points = tuple(_point(test) for test in tests)
        first = tests[0]
        model = Identity(Path(str(first["model_filename"])).name, None, str(first.get("model_type", "")), "llama-bench names the file only")
        at = float(calendar.timegm(time.strptime(str(first["test_time"]), "%Y-%m-%dT%H:%M:%SZ"))) if "test_time" in first else 0.0
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UsageError(
            f"{path} is not what llama-bench, vllm bench serve or guidellm write", hint="such as: llama-bench -m MODEL -o json > FILE"
        ) from error
    build = f"{one_line(str(first.get('build_number', '')), 20)} {one_line(str(first.get('build_commit', '')), 40)}".strip()
    return Result(
        id=f"llama-bench-{hashlib.sha256(repr(document).encode()).hexdigest()[:12]}",
        at=at,
        tool=__version__,
        model=model,
        profile=None,
        software=Software("llama-bench", build, one_line(str(first.get("backends", "")), 80)),
        route=None,
        config={"imported": path.name, "threads": first.get("n_threads") if isinstance(first.get("n_threads"), int) else None},
        limits=Limits("none", None, None),
        points=points,
        definitions={"throughput": SAID, "ci95": DEFINITIONS["ci95"]},
        telemetry={},
    )


def _point(test: Mapping[str, Any]) -> LoadPoint:
    read, written = int(test["n_prompt"]), int(test["n_gen"])
    rates = [float(rate) for rate in test.get("samples_ts") or [test["avg_ts"]]]
    nothing = dict.fromkeys(METRICS, NOTHING) | {"throughput": figure([[rate] for rate in rates])}
    name = "+".join(word for word, count in ((f"pp{read}", read), (f"tg{written}", written)) if count)
    runs = [
        Run(place, (read + written) / rate, dict.fromkeys(METRICS, None) | {"throughput": rate})
        for place, rate in enumerate(rates)
        if rate > 0
    ]
    return LoadPoint(
        mix=f"llama-bench {name}",
        concurrency=1,
        rate=None,
        requests=0,
        errors=0,
        truncated=0,
        cache=Cache(0, 0, 0, 0),
        prompt_tokens=figure([[float(read)]]),
        completion_tokens=figure([[float(written)]]),
        why_not="",
        runs=tuple(runs),
        **nothing,
    )
