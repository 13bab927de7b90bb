"""What Prometheus is told of models that are read from disk."""

from __future__ import annotations

import pytest

prometheus = pytest.importorskip("prometheus_client")

from synaptic.engines.root_events import Figures, RootAnswered, Storage  # noqa: E402 - what is tested needs it
from synaptic.web.metrics import Meters  # noqa: E402


def test_layers_and_experts_are_counted_by_where_they_were() -> None:
    meters = Meters()
    for _ in range(2):
        storage = Storage(layers=32, hits=24, bytes=1000, ms=5.0, experts=40, expert_hits=10)
        meters.hear(RootAnswered(model="m", split="none", prompt=Figures(), answer=Figures(4), storage=storage))
    meters.hear(RootAnswered(model="n", split="layers", prompt=Figures(), answer=Figures(4)))
    text = prometheus.generate_latest(meters._registry).decode()
    for line in (
        'synaptic_storage_layers_total{model="m",where="memory"} 48.0',
        'synaptic_storage_layers_total{model="m",where="disk"} 16.0',
        'synaptic_storage_experts_total{model="m",where="memory"} 20.0',
        'synaptic_storage_experts_total{model="m",where="disk"} 60.0',
        'synaptic_storage_read_bytes_total{model="m"} 2000.0',
    ):
        assert line in text.splitlines()
    assert 'model="n"' not in text
