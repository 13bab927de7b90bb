"""status and metrics: what is running where."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synaptic import __version__
from synaptic.cluster.backend import Kind
from synaptic.commands import coordinator, rpc
from synaptic.commands.faces import address_of
from synaptic.commands.registry import registry
from synaptic.events import GenerationFinished
from synaptic.models.model import BUILTIN
from synaptic.results import Cell, Facts, Rows, gib, plural

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.cluster.node import NodeState
    from synaptic.session import Session

FACES = ("dashboard", "gateway")


@registry.command("status", group="look")
async def status(session: Session) -> Facts:
    """Show what is running where: workers, servers, coordinators, and the chosen model.

        status
        status --json

    See also: doctor, nodes list, rpc list, coordinator list
    """
    looks = session.know_backends().check(), session.know_dllama().check(), session.nodes.refresh()
    workers, dllama, nodes = await asyncio.gather(*looks)
    coordinators = coordinator.rows(session)
    ready = sum(worker.is_ready for worker in workers)
    on = session.settings.now.distributed_inference_enabled
    data: Mapping[str, object] = {
        "version": __version__,
        "distributed": on,
        "mode": session.settings.now.mode or "standard",
        "model": session.settings.now.model or "demo",
        "backends": {"rpc": {"known": len(workers), "ready": ready}, "dllama": _dllama(dllama), **_counts(nodes)},
        "coordinators": coordinators.items,
        **{name: {"url": address_of(session, name)} for name in FACES},
    }
    facts: list[tuple[str, str | Cell]] = [
        ("distributed", Cell("on" if on else "off", "good" if on else "")),
        ("model", await asyncio.to_thread(_model, session)),
        *([] if workers or dllama else [("workers", "none yet; try: rpc discover, or: worker start")]),
        *([("dllama", f"{sum(each.is_there for each in dllama)} of {plural(len(dllama), 'worker')} there")] if dllama else []),
        ("servers", _servers(nodes)),
        ("coordinator", ", ".join(f"{each.model} {each.state}{_kind(each)}" for each in coordinators.items) or "none yet"),
        *((name, address_of(session, name) or "off") for name in FACES),
    ]
    tables: list[tuple[str, Rows[Any]]] = []
    if workers:
        tables.append(("workers", rpc.rows(session, workers)))
    if coordinators.items:
        tables.append(("coordinators", coordinators))
    return Facts(facts, data, tables)


@registry.command("metrics", group="look")
async def metrics(session: Session) -> Facts:
    """Show the numbers of this session's answers: how many, how fast, how many broke off.

    See also: status, bench run, explain
    """
    done = [event for event in session.bus.history if isinstance(event, GenerationFinished)]
    speeds = [event.tokens_per_second for event in done if event.tokens_per_second]
    waits = [event.ttft_ms for event in done if event.ttft_ms is not None]
    data = {
        "answers": len(done),
        "incomplete": sum(not event.complete for event in done),
        "tokens": sum(event.tokens for event in done),
        "tokens_per_second": _mean(speeds),
        "ttft_ms": _mean(waits),
    }
    facts: list[tuple[str, str | Cell]] = [
        ("answers", str(data["answers"])),
        ("incomplete", str(data["incomplete"])),
        ("tokens", str(data["tokens"])),
        ("tokens/s", f"{data['tokens_per_second']:.1f} (mean)" if speeds else "–"),
        ("first token", f"{data['ttft_ms']:.0f} ms (mean)" if waits else "–"),
    ]
    return Facts(facts, data)


def _kind(each: coordinator.CoordinatorRecord) -> str:
    return " (built-in)" if each.engine == BUILTIN else ""


def _dllama(workers: Sequence[Backend]) -> dict[str, int]:
    return {"known": len(workers), "ready": sum(each.is_there for each in workers)}


def _counts(nodes: Sequence[NodeState]) -> dict[str, dict[str, int]]:
    kinds = {kind: [state for state in nodes if state.node.kind is kind] for kind in (Kind.OLLAMA, Kind.OPENAI)}
    return {kind.value: {"known": len(states), "ready": sum(each.is_ready for each in states)} for kind, states in kinds.items()}


def _servers(nodes: Sequence[NodeState]) -> str:
    """The one that is only tried because Ollama may run here counts when it does."""
    named = [state for state in nodes if state.is_ready or state.node.source != "default"]
    told = [f"{state.node.endpoint} {_what(state)}{'' if state.is_ready else f' ({state.health})'}" for state in named]
    return ", ".join(told) or "none; try: nodes discover, or: nodes add URL"


def _what(state: NodeState) -> str:
    software = state.software or state.node.kind.value
    if state.load is None or not state.is_ready:
        return software
    waiting = f", {state.load.waiting} waiting" if state.load.waiting else ""
    return f"{software} {state.version} ({state.load.running} running{waiting})"


def _model(session: Session) -> str:
    name = session.settings.now.model or "demo"
    if not session.knows_model(name):
        return f"{name} (not found here; try: model list)"
    model = session.catalog.find(name)
    return f"{model.name} · {gib(model.bytes)} · {plural(model.layers, 'layer')}"


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None
