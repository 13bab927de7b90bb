"""The numbers of this program for Prometheus: counted as things happen, gauges read when they are asked for."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from synaptic.engines.root_events import RootAnswered, Storage
from synaptic.events import Event, GenerationFinished, GenerationStarted, GenerationWentOn
from synaptic.web.splits import splits

if TYPE_CHECKING:
    from synaptic.session import Session
    from synaptic.web.activity import Activity

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_RATES = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_WAITS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Meters:
    """A registry of its own: two sessions in one process do not mix."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self._vias: dict[int, str] = {}
        by_model = ("model", "via")
        self._answers = Counter("synaptic_answers", "Answers that ended.", (*by_model, "outcome"), registry=own)
        self._tokens = Counter("synaptic_tokens", "Tokens of answers.", by_model, registry=own)
        self._failovers = Counter("synaptic_failovers", "Answers that went on after a loss.", ("model",), registry=own)
        self._rates = Histogram("synaptic_tokens_per_second", "Speed of whole answers.", by_model, buckets=_RATES, registry=own)
        self._waits = Histogram("synaptic_ttft_seconds", "Time to the first token.", by_model, buckets=_WAITS, registry=own)
        kept = ("model", "where")
        self._layers = Counter("synaptic_storage_layers", "Layers that a built-in root needed.", kept, registry=own)
        self._experts = Counter("synaptic_storage_experts", "Experts that a built-in root needed.", kept, registry=own)
        self._read = Counter("synaptic_storage_read_bytes", "Bytes of models read from disk to answer.", ("model",), registry=own)
        self._running = Gauge("synaptic_answers_running", "Answers on their way.", registry=own)
        self._speed = Gauge("synaptic_tokens_per_second_now", "Speed of all running answers together.", registry=own)
        self._backends = Gauge("synaptic_backends", "Known workers and servers.", ("kind", "state"), registry=own)
        self._coordinators = Gauge("synaptic_coordinators", "Known coordinators.", ("engine", "state"), registry=own)

    def hear(self, event: Event) -> None:
        match event:
            case GenerationStarted():
                self._vias[event.generation] = event.via
            case GenerationWentOn():
                self._failovers.labels(event.model).inc()
            case GenerationFinished():
                self._count(event, self._vias.pop(event.generation, ""))
            case RootAnswered(storage=Storage() as storage):
                self._count_storage(event.model, storage)

    def render(self, session: Session, activity: Activity) -> bytes:
        self._running.set(len(activity.running))
        self._speed.set(activity.tokens_per_second)
        _set(self._backends, Tally(_backends(session)))
        _set(self._coordinators, Tally((split.engine, split.state) for split in splits(session)))
        return generate_latest(self._registry)

    def _count_storage(self, model: str, storage: Storage) -> None:
        for counter, needed, hits in ((self._layers, storage.layers, storage.hits), (self._experts, storage.experts, storage.expert_hits)):
            counter.labels(model, "memory").inc(hits)
            counter.labels(model, "disk").inc(needed - hits)
        self._read.labels(model).inc(storage.bytes)

    def _count(self, event: GenerationFinished, via: str) -> None:
        self._answers.labels(event.model, via, "complete" if event.complete else "incomplete").inc()
        self._tokens.labels(event.model, via).inc(event.tokens)
        if event.tokens_per_second:
            self._rates.labels(event.model, via).observe(event.tokens_per_second)
        if event.ttft_ms is not None:
            self._waits.labels(event.model, via).observe(event.ttft_ms / 1000)


def _backends(session: Session) -> list[tuple[str, str]]:
    pool = session.pool.records() if session.is_open("pool") else []
    dllama = session.dllama.records() if session.is_open("dllama") else []
    states = session.nodes.states() if session.is_open("nodes") else []
    found = [(record.kind.value, record.state.value) for record in (*pool, *dllama)]
    return found + [(state.node.kind.value, state.state.value) for state in states if state.is_ready or state.node.source != "default"]


def _set(gauge: Gauge, counts: Tally[tuple[str, str]]) -> None:
    gauge.clear()
    for labels, count in counts.items():
        gauge.labels(*labels).set(count)
