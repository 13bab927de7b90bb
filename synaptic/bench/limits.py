"""Limits that a request must keep to count for goodput: MLPerf Inference's for servers, at its 99th percentile."""

from __future__ import annotations

import re

from synaptic.bench.result import Limits
from synaptic.errors import UsageError
from synaptic.terminal import one_line

_SOURCE = "MLPerf Inference rules, server scenario (inference_rules.adoc)"
LIMITS = {
    limits.name: limits
    for limits in (
        Limits("mlperf-llama-2-70b", 2000.0, 200.0, _SOURCE),
        Limits("mlperf-llama-2-70b-interactive", 450.0, 40.0, _SOURCE),
        Limits("mlperf-llama-3.1-8b", 2000.0, 100.0, _SOURCE),
        Limits("mlperf-llama-3.1-8b-interactive", 500.0, 30.0, _SOURCE),
        Limits("mlperf-llama-3.1-405b", 6000.0, 175.0, _SOURCE),
    )
}
USUAL = "mlperf-llama-2-70b"
_PAIR = re.compile(r"(\d{1,7}(?:\.\d+)?)/(\d{1,7}(?:\.\d+)?)")


def limits_of(text: str) -> Limits:
    """A name of those, or `TTFT/TPOT` in ms. Raises UsageError."""
    if text in LIMITS:
        return LIMITS[text]
    if match := _PAIR.fullmatch(text):
        return Limits(text, float(match[1]), float(match[2]), "as asked for")
    raise UsageError(f"no limits are called {one_line(text, 40)}", hint=f"one of {', '.join(LIMITS)}, or TTFT/TPOT in ms, such as 2000/200")
