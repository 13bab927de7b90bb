"""Words that complete arguments, from the live session. Never blocks, never asks the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synaptic.commands.grammar import Completion

if TYPE_CHECKING:
    from synaptic.session import Session


def backends(session: Session) -> list[Completion]:
    return [(str(each.endpoint), each.detail or each.state.value) for each in session.know_backends().backends()]


def configured(session: Session) -> list[Completion]:
    return [(str(endpoint), "configured worker") for endpoint in session.settings.now.rpc_backends]


def configured_nodes(session: Session) -> list[Completion]:
    states = {state.node.url: f"{state.software or state.node.kind.value} · {state.health}" for state in session.nodes.states()}
    return [(entry.url, states.get(entry.url, "") + (f" · {entry.name}" if entry.name else "")) for entry in session.settings.now.nodes]


def models(session: Session) -> list[Completion]:
    return session.catalog.names()


def local_workers(session: Session) -> list[Completion]:
    return [(str(worker.endpoint), f"pid {worker.pid}") for worker in session.workers.all()]


def coordinators(session: Session) -> list[Completion]:
    roots = session.roots.all() if session.is_open("roots") else []
    return [(each.plan.model.name, str(each.state)) for each in (*session.all_coordinators(), *roots)]


def dllama_backends(session: Session) -> list[Completion]:
    return [(str(each.endpoint), each.detail or each.state.value) for each in session.know_dllama().backends()]
