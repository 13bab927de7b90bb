"""The coordinators of this moment, of llama.cpp and of distributed-llama, and which part of its model each worker holds."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from synaptic.models.model import DLLAMA, LLAMA_CPP

if TYPE_CHECKING:
    from synaptic.process.coordinator import Coordinator
    from synaptic.process.dllama_api import DllamaCoordinator
    from synaptic.process.placement import Share
    from synaptic.session import Session


@dataclasses.dataclass(frozen=True)
class Split:
    """`placement` in `status --json`, and what a picture of it needs. `owner`: of which process, None: nobody's."""

    name: str
    model: str
    engine: str
    state: str
    cause: str
    pid: int | None
    port: int | None
    owner: int | None
    is_ours: bool
    context: int
    slots: int
    kv_type: str
    layers: int
    bytes: int
    answering: int
    backends: tuple[str, ...]
    shares: tuple[Share, ...]


def splits(session: Session) -> list[Split]:
    llama = session.coordinators.all() if "coordinators" in session.__dict__ else []
    dllama = session.dllama_apis.all() if "dllama_apis" in session.__dict__ else []
    return [*(_split(each, LLAMA_CPP) for each in llama), *(_split(each, DLLAMA) for each in dllama)]


def about(session: Session, child: str) -> tuple[str, int | None]:
    """Which engine a coordinator's process is of, and the port it listens on."""
    found = next((split for split in splits(session) if split.name == child), None)
    return (found.engine, found.port) if found else (LLAMA_CPP, None)


def _split(coordinator: Coordinator | DllamaCoordinator, engine: str) -> Split:
    plan, child, entry = coordinator.plan, coordinator.child, coordinator.entry
    return Split(
        name=coordinator.name,
        model=plan.model.name,
        engine=engine,
        state=coordinator.state.value,
        cause=child.cause,
        pid=child.pid,
        port=coordinator.port,
        owner=entry.owner.pid if entry.owner.is_alive else None,
        is_ours=entry.is_ours,
        context=plan.context,
        slots=plan.slots,
        kv_type=plan.kv_type,
        layers=plan.model.layers,
        bytes=plan.model.bytes,
        answering=coordinator.generating,
        backends=tuple(map(str, plan.workers)),
        shares=tuple(coordinator.shares()),
    )
