"""Snapshots as the program makes them, of worlds that are too large or too sad to be built for a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from synaptic.process.placement import Share
from synaptic.results import Json, to_json
from synaptic.web.activity import Generation
from synaptic.web.links import Link
from synaptic.web.machines import HERE, Holding, Machine
from synaptic.web.snapshot import alerts
from synaptic.web.splits import Split

if TYPE_CHECKING:
    from playwright.sync_api import Page, WebSocketRoute

GIB = 2**30
MODEL = "hf.co/someone/a-rather-long-model-name-Instruct-GGUF:Q4_K_M"
Snapshot = dict[str, Json]


def split(workers: Sequence[str], *, cut: str = "layers", layers: int = 80) -> Split:
    """Ready, its layers dealt out evenly."""
    each = max(layers // max(len(workers), 1), 1) if cut == "layers" else layers
    return Split(
        name=f"coordinator {MODEL}",
        model=MODEL,
        engine="llama.cpp" if cut == "layers" else "dllama",
        cut=cut,
        state="ready",
        cause="",
        pid=1,
        port=40000,
        owner=1,
        is_ours=True,
        context=131072,
        slots=4,
        kv_type="q8_0",
        layers=layers,
        bytes=layers * GIB,
        answering=0,
        backends=tuple(workers),
        shares=(*(Share(worker, each * GIB, GIB // 2, GIB // 4, each) for worker in workers), Share(HERE, GIB)),
        links=tuple(Link(worker, 1_234_567.0, 98_765.0) for worker in workers),
    )


def worker(endpoint: str, *, is_lost: bool = False) -> Machine:
    return Machine(
        endpoint,
        "rpc",
        "unreachable" if is_lost else "in-use",
        "lost" if is_lost else "ready",
        version="7.0.0",
        detail="no route to host" if is_lost else "",
        source="configured",
        latency_ms=0.4,
        total=24 * GIB,
        free=3 * GIB,
        last_seen=1.0,
        since=70.0,
        holds=() if is_lost else (Holding(MODEL, "llama.cpp", "layers", 2, 2 * GIB, GIB // 2, GIB // 4),),
        sent_per_second=1_234_567.0,
        received_per_second=98_765.0,
    )


def snapshot(machines: Sequence[Machine], splits: Sequence[Split], *, running: Sequence[Generation] = ()) -> Snapshot:
    here = Machine(HERE, "coordinator", "idle", "ready", version="Linux", total=64 * GIB, free=20 * GIB, devices=("16 cores",))
    ready = sum(machine.health == "ready" for machine in machines)
    counts = {"known": len(machines), "ready": ready, "lost": len(machines) - ready}
    document = to_json(
        {
            "at": 100.0,
            "version": "0",
            "distributed": True,
            "mode": "distributed",
            "model": MODEL,
            "summary": {
                "workers": counts,
                "servers": {"known": 0, "ready": 0, "lost": 0},
                "coordinators": {"known": len(splits), "ready": len(splits)},
                "answering": len(running),
                "tokens_per_second": sum(each.tokens_per_second or 0 for each in running),
            },
            "machines": [here, *machines],
            "coordinators": splits,
            "links_are_measured": True,
            "nodes": [],
            "answers": {"running": running, "recent": []},
            "works": [],
            "alerts": alerts(machines, splits),
            "gateway": {"url": None},
            "history": [],
        }
    )
    assert isinstance(document, dict)
    return document


class Stage:
    """Stands in for the websocket of snapshots: `look(…, prepare=stage)`, then `stage.show(…)`."""

    def __init__(self, first: Snapshot) -> None:
        self._first = first
        self._sockets: list[WebSocketRoute] = []

    def __call__(self, page: Page) -> None:
        page.route_web_socket("**/ws/dashboard", self._open)

    def show(self, document: Snapshot) -> None:
        self._sockets[-1].send(json.dumps(document))

    def leave(self) -> None:
        self._sockets[-1].close()

    def _open(self, socket: WebSocketRoute) -> None:
        self._sockets.append(socket)
        socket.send(json.dumps(self._first))


Look = Callable[..., "Page"]
