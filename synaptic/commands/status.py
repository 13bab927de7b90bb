"""status and metrics: what is running where."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from synaptic import __version__
from synaptic.commands import coordinator, rpc
from synaptic.commands.registry import registry
from synaptic.events import GenerationFinished
from synaptic.results import Cell, Facts, Rows, gib, plural

if TYPE_CHECKING:
    from synaptic.session import Session


@registry.command("status", group="look")
async def status(session: Session) -> Facts:
    """Show what is running where: workers, coordinators, the chosen model and the route it would take.

    status
    status --json
    """
    workers = await session.know_backends().check()
    coordinators = coordinator.rows(session)
    ready = sum(worker.is_ready for worker in workers)
    on = session.settings.now.distributed_inference_enabled
    data: Mapping[str, object] = {
        "version": __version__,
        "distributed": on,
        "mode": session.settings.now.mode or "standard",
        "model": session.settings.now.model or "demo",
        "backends": {"rpc": {"known": len(workers), "ready": ready}, "dllama": {}, "ollama": {}, "openai": {}},
        "coordinators": coordinators.items,
        "dashboard": {"url": None},
        "gateway": {"url": None},
    }
    facts: list[tuple[str, str | Cell]] = [
        ("distributed", Cell("on" if on else "off", "good" if on else "")),
        ("model", await asyncio.to_thread(_model, session)),
        ("workers", f"{ready} of {plural(len(workers), 'worker')} ready" if workers else "none yet; try: rpc discover, or: worker start"),
        ("coordinator", ", ".join(f"{each.model} {each.state}" for each in coordinators.items) or "none yet"),
    ]
    tables: list[tuple[str, Rows[Any]]] = []
    if workers:
        tables.append(("workers", rpc.rows(session, workers)))
    if coordinators.items:
        tables.append(("coordinators", coordinators))
    return Facts(facts, data, tables)


@registry.command("metrics", group="look")
async def metrics(session: Session) -> Facts:
    """Show the numbers of this session's answers: how many, how fast, how many broke off."""
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


def _model(session: Session) -> str:
    name = session.settings.now.model or "demo"
    if not session.knows_model(name):
        return f"{name} (not found here; try: model list)"
    model = session.catalog.find(name)
    return f"{model.name} · {gib(model.bytes)} · {plural(model.layers, 'layer')}"


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None
