"""What the page shows of each machine: what it is, how it fares, and what of which model lies in its memory."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from synaptic.cluster.backend import Kind

if TYPE_CHECKING:
    from synaptic.cluster.node import NodeState
    from synaptic.cluster.pool import Record
    from synaptic.session import Session
    from synaptic.web.splits import Split

HERE = "here"


@dataclasses.dataclass(frozen=True)
class Holding:
    """What of one model lies on a machine, in bytes."""

    model: str
    engine: str
    cut: str
    layers: int
    model_bytes: int
    kv_bytes: int
    compute_bytes: int


@dataclasses.dataclass(frozen=True)
class Machine:
    """Memory in bytes, None: not known. `total` less `free` less what is held is in use by others."""

    endpoint: str
    kind: str
    state: str
    health: str
    version: str = ""
    detail: str = ""
    source: str = ""
    latency_ms: float | None = None
    total: int | None = None
    free: int | None = None
    devices: tuple[str, ...] = ()
    last_seen: float | None = None
    since: float | None = None
    holds: tuple[Holding, ...] = ()
    models: int | None = None  # that a server offers
    loaded: tuple[str, ...] = ()  # those in its memory
    loaded_bytes: int | None = None
    running: int | None = None  # requests of ours at a server
    cpu_percent: float | None = None
    sent_per_second: float | None = None  # bytes: of this machine over every interface but loopback, to a worker from its coordinators
    received_per_second: float | None = None


def machines(session: Session, splits: Sequence[Split], here: Machine) -> list[Machine]:
    """This machine first, then workers, then servers; what is known now, without asking anybody."""
    known = session.pool.records() if session.is_open("pool") else []
    dllama = session.dllama.records() if session.is_open("dllama") else []
    nodes = session.nodes.states() if session.is_open("nodes") else []
    workers = sorted((*known, *dllama), key=lambda record: (record.kind.value != Kind.RPC.value, record.endpoint))
    return [
        dataclasses.replace(here, holds=_held(HERE, splits)),
        *(_worker(record, splits) for record in workers),
        *(_server(state) for state in nodes if state.is_ready or state.node.source != "default"),
    ]


class ThisMachine:
    """Its load and traffic since it was last asked."""

    def __init__(self) -> None:
        self._traffic: tuple[float, int, int] | None = None

    def look(self, now: float) -> Machine:
        import psutil

        memory, is_first, busy = psutil.virtual_memory(), self._traffic is None, psutil.cpu_percent()
        sent, received = self._rates(now)
        return Machine(
            HERE,
            "coordinator",
            "idle",
            "ready",
            version=f"{platform.system()} {platform.machine()}",
            total=memory.total,
            free=memory.available,
            devices=(f"{psutil.cpu_count()} cores",),
            cpu_percent=None if is_first else busy,
            sent_per_second=sent,
            received_per_second=received,
        )

    def _rates(self, now: float) -> tuple[float | None, float | None]:
        import psutil

        counters = [each for name, each in psutil.net_io_counters(pernic=True).items() if not name.startswith("lo")]
        sent, received = sum(each.bytes_sent for each in counters), sum(each.bytes_recv for each in counters)
        before, self._traffic = self._traffic, (now, sent, received)
        if before is None or now <= before[0]:
            return None, None
        seconds = now - before[0]
        return max(sent - before[1], 0) / seconds, max(received - before[2], 0) / seconds


def _worker(record: Record, splits: Sequence[Split]) -> Machine:
    endpoint = str(record.endpoint)
    links = [link for split in splits for link in split.links if link.endpoint == endpoint]
    return Machine(
        endpoint,
        record.kind.value,
        record.state.value,
        record.health,
        version=record.version or "",
        detail=record.detail,
        source=record.source,
        latency_ms=record.latency_ms,
        total=sum(device.total for device in record.devices) or None,
        free=record.free_bytes if record.devices else None,
        devices=tuple(device.name for device in record.devices),
        last_seen=record.last_seen,
        since=record.since,
        holds=_held(endpoint, splits),
        sent_per_second=sum(link.sent_per_second for link in links) if links else None,
        received_per_second=sum(link.received_per_second for link in links) if links else None,
    )


def _server(state: NodeState) -> Machine:
    return Machine(
        str(state.node.endpoint),
        state.node.kind.value,
        state.state.value,
        state.health,
        version=f"{state.software} {state.version}".strip(),
        detail=state.detail,
        source=state.node.source,
        latency_ms=state.latency_ms,
        last_seen=state.last_seen,
        since=state.since,
        models=len(state.offers),
        loaded=tuple(offer.name for offer in state.offers if offer.is_loaded),
        loaded_bytes=state.memory,
        running=state.running,
    )


def _held(endpoint: str, splits: Iterable[Split]) -> tuple[Holding, ...]:
    return tuple(
        Holding(split.model, split.engine, split.cut, share.layers, share.model_bytes, share.kv_bytes, share.compute_bytes)
        for split in splits
        for share in split.shares
        if share.endpoint == endpoint and share.model_bytes + share.kv_bytes + share.compute_bytes
    )
