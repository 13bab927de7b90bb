"""The coordinators and roots of this moment, and which part of its model each worker holds."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from synaptic.models.model import BUILTIN, LLAMA_CPP
from synaptic.web.links import Line, Link, Links

if TYPE_CHECKING:
    from synaptic.engines.running_root import RunningRoot
    from synaptic.process.coordinator import Coordinator
    from synaptic.process.dllama_api import DllamaCoordinator
    from synaptic.process.placement import Share
    from synaptic.session import Session


@dataclasses.dataclass(frozen=True)
class Split:
    """
    `placement` in `status --json`, and what a picture of it needs. `owner`: of which process, None: nobody's.

    `cut`: layers, where each worker has some of them; tensor, where each has a part of every one; none.
    """

    name: str
    model: str
    engine: str
    cut: str
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
    links: tuple[Link, ...] = ()


def splits(session: Session, links: Links | None = None) -> list[Split]:
    split = [*map(_split, _coordinators(session)), *map(_of_root, _roots(session))]
    return [dataclasses.replace(each, links=links.of(each.name, each.pid)) for each in split] if links else split


def lines(session: Session) -> list[Line]:
    """Between whom something passes now. Reads small files where there are relays."""
    roots = [Line(each.name, os.getpid(), each.plan.workers) for each in _roots(session) if each.plan.workers]
    return roots + [
        Line(each.name, each.child.pid, each.plan.workers, tuple((of.endpoint, of.bytes_up, of.bytes_down) for of in each.traffic()))
        for each in _coordinators(session)
        if each.child.pid and each.plan.workers
    ]


def about(session: Session, child: str) -> tuple[str, int | None]:
    """Which engine a coordinator's process is of, and the port it listens on."""
    found = next((split for split in splits(session) if split.name == child), None)
    return (found.engine, found.port) if found else (LLAMA_CPP, None)


def _coordinators(session: Session) -> list[Coordinator | DllamaCoordinator]:
    llama = session.coordinators.all() if session.is_open("coordinators") else []
    dllama = session.dllama_apis.all() if session.is_open("dllama_apis") else []
    return [*llama, *dllama]


def _roots(session: Session) -> list[RunningRoot]:
    return session.roots.all() if session.is_open("roots") else []


def _split(coordinator: Coordinator | DllamaCoordinator) -> Split:
    plan, child, entry = coordinator.plan, coordinator.child, coordinator.entry
    return Split(
        name=coordinator.name,
        model=plan.model.name,
        engine=coordinator.engine,
        cut="layers" if coordinator.engine == LLAMA_CPP else "tensor",
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
        shares=tuple(coordinator.shares()) if child.pid else (),  # nothing lies anywhere once its process is gone
    )


def _of_root(root: RunningRoot) -> Split:
    plan = root.plan
    return Split(
        name=root.name,
        model=plan.model.name,
        engine=BUILTIN,
        cut=root.split,
        state=root.state,
        cause="",
        pid=os.getpid(),
        port=None,
        owner=os.getpid(),
        is_ours=True,
        context=plan.context,
        slots=plan.slots,
        kv_type=plan.kv_type,
        layers=plan.model.layers,
        bytes=plan.model.bytes,
        answering=root.generating,
        backends=tuple(map(str, root.workers)),
        shares=root.shares(),
    )
