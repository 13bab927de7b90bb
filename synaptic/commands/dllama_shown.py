"""dllama workers as `dllama list` shows them: how their ports look, and how fast they proved to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from synaptic.cluster.pool import Record
from synaptic.planning.dllama_speed import macs_of
from synaptic.results import Cell, Rows, Style

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.planning.speeds import Speed
    from synaptic.session import Session

_STYLES: dict[str, Style] = {"idle": "good", "in-use": "good", "unverified": "attention", "unreachable": "bad"}


@dataclasses.dataclass(frozen=True)
class DllamaRecord(Record):
    """`gmacs`: thousand million multiplications and additions a second, `gigabytes` of 4-bit weights a second; None: never measured."""

    gmacs: float | None = None
    gigabytes: float | None = None


def records(session: Session, chosen: Sequence[Backend]) -> list[DllamaRecord]:
    speeds = session.dllama_speeds.known()
    records = (session.dllama.record(backend.endpoint) for backend in chosen)
    return [_with_speed(record, speeds.get(record.endpoint)) for record in records if record]


def rows(session: Session, chosen: Sequence[Backend]) -> Rows[DllamaRecord]:
    return Rows(
        key="backends",
        items=records(session, chosen),
        columns={
            "endpoint": lambda record: str(record.endpoint),
            "state": lambda record: Cell(record.state.value, _STYLES.get(record.state.value, "")),
            "latency": lambda record: f"{record.latency_ms:.0f} ms" if record.latency_ms is not None else "–",
            "speed": lambda record: (
                f"{record.gmacs:.1f} GMAC/s · {record.gigabytes:.1f} GB/s" if record.gmacs and record.gigabytes else "–"
            ),
            "source": lambda record: record.source,
            "detail": lambda record: Cell(record.detail, "dim"),
        },
        empty="no dllama workers yet. try: dllama add HOST, or: dllama discover",
    )


def _with_speed(record: Record, speed: Speed | None) -> DllamaRecord:
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    weights = speed.bandwidth if speed else 0.0
    return DllamaRecord(**fields, gmacs=round(macs_of(weights) / 1e9, 2) or None, gigabytes=round(weights / 1e9, 2) or None)
