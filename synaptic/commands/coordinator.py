"""coordinator: the local servers that hold models over workers."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import coordinators, models
from synaptic.commands.grammar import Complete
from synaptic.commands.registry import registry
from synaptic.models.model import DLLAMA, LLAMA_CPP
from synaptic.results import Cell, Json, Note, Rows, Style, gib, plural, to_json

if TYPE_CHECKING:
    from synaptic.process.coordinator import Coordinator
    from synaptic.process.dllama_api import DllamaCoordinator
    from synaptic.process.placement import Share
    from synaptic.process.relay_figures import Traffic
    from synaptic.session import Session

_STYLES: dict[str, Style] = {"ready": "good", "starting": "attention", "failed": "bad"}


@dataclasses.dataclass(frozen=True)
class CoordinatorRecord:
    """What `status --json` and `coordinator list --json` say of one coordinator. `owner` is None when that process has ended."""

    model: str
    engine: str
    state: str
    pid: int | None
    port: int | None
    backends: tuple[str, ...]
    placement: tuple[Share, ...]
    cause: str
    log: str
    owner: int | None  # pid of the program that stops it when it ends
    is_ours: bool
    relay: bool  # whether relays stand between it and its workers
    traffic: tuple[Traffic, ...]  # what they have passed on

    @property
    def whose(self) -> str:
        return "this process" if self.is_ours else f"process {self.owner}" if self.owner else "none: it was left"

    def as_json(self) -> Json:
        return {field.name: to_json(getattr(self, field.name)) for field in dataclasses.fields(self)}


def record(coordinator: Coordinator | DllamaCoordinator) -> CoordinatorRecord:
    return CoordinatorRecord(
        model=coordinator.plan.model.name,
        engine=coordinator.engine,
        state=coordinator.state.value,
        pid=coordinator.child.pid,
        port=coordinator.port,
        backends=tuple(map(str, coordinator.plan.workers)),
        placement=coordinator.shares(),
        cause=coordinator.child.cause,
        log=str(coordinator.child.spec.log),
        owner=coordinator.entry.owner.pid if coordinator.entry.owner.is_alive else None,
        is_ours=coordinator.entry.is_ours,
        relay=coordinator.has_relays,
        traffic=coordinator.traffic(),
    )


@registry.command("coordinator list", group="models")
async def list_(session: Session) -> Rows[CoordinatorRecord]:
    """Show the coordinators of this machine, whose they are, and how much of their model lies on which worker.

    One that another shell runs is shared; one that was left by a shell that has ended belongs to the next that uses it.
    """
    session.coordinators.look()
    return rows(session)


@registry.command("coordinator start", group="models")
async def start(session: Session, model: Annotated[str, Complete(models)], *, relay: bool = False) -> Note:
    """Load a model now rather than at the first prompt, and prove where its layers lie.

    With --relay, now and until you leave, a relay of ours stands between each worker and its coordinator: a pulled cable
    is noticed within `relay_seconds`, and what passes is counted. `config set relay on` makes that last.

        coordinator start demo
        coordinator start demo --relay

    See also: coordinator list, coordinator stop, config set
    """
    if relay:
        session.settings.for_now(relay=True)
    session.know_backends()
    found = await asyncio.to_thread(session.catalog.find, model)
    route = await session.answering.route(model, via=DLLAMA if session.dllama_routes.can(found) else LLAMA_CPP)
    assert route.plan
    coordinator: Coordinator | DllamaCoordinator
    if route.via == DLLAMA:
        coordinator = await session.dllama_apis.ensure(route.plan)
    else:
        session.coordinators.try_again(route.model.name)
        coordinator = await session.coordinators.ensure(route.plan)
    lines = [f"  {line}" for line in placement_lines(coordinator.shares())]
    text = "\n".join([f"{route.model.name} is ready · {route.via} :{coordinator.port} ({route.why})", *lines])
    is_without = relay and route.plan.workers and not coordinator.has_relays
    hint = f"it was up already, without relays; coordinator restart {route.model.name} --relay puts them in" if is_without else None
    return Note(text, {"coordinator": record(coordinator)}, hint=hint, holds=coordinator.entry.is_ours)


@registry.command("coordinator stop", group="models")
async def stop(session: Session, model: Annotated[str | None, Complete(coordinators)] = None) -> Note:
    """Stop the coordinator of a model, or all of them, whoever started them. Workers stay; their memory is free again."""
    session.coordinators.look()
    up = [each for each in session.all_coordinators() if each.child.pid and model in (None, each.plan.model.name)]
    busy = [each.plan.model.name for each in up if each.is_busy]
    if busy and not await session.confirm(f"{', '.join(busy)} is answering; stop it?"):
        return Note("nothing changed")
    stopped = [] if session.is_dllama(model) else await session.coordinators.stop(model)
    if any(each.engine == DLLAMA for each in up):
        stopped += await session.dllama_apis.stop(model)
    return Note(f"stopped {', '.join(stopped)}" if stopped else "no coordinator runs", {"stopped": stopped})


@registry.command("coordinator restart", group="models")
async def restart(session: Session, model: Annotated[str | None, Complete(coordinators)] = None, *, relay: bool = False) -> Note:
    """Stop the coordinator of a model, or the newest one, and start it again on the workers that are ready now."""
    session.coordinators.look()
    name = model if model and session.is_dllama(model) else session.coordinators.of(model).plan.model.name
    await (session.dllama_apis if session.is_dllama(name) else session.coordinators).stop(name)
    return await start(session, name, relay=relay)


def rows(session: Session) -> Rows[CoordinatorRecord]:
    return Rows(
        key="coordinators",
        items=[record(each) for each in session.all_coordinators()],
        columns={
            "model": lambda each: each.model,
            "engine": lambda each: each.engine,
            "state": lambda each: Cell(each.state, _STYLES.get(each.state, "")),
            "port": lambda each: str(each.port or "–"),
            "pid": lambda each: str(each.pid or "–"),
            "owner": lambda each: each.whose if each.pid else "–",
            "layers": lambda each: ", ".join(f"{share.endpoint} {share.layers}" for share in each.placement if share.layers) or "–",
            "cause": lambda each: Cell(each.cause, "dim"),
        },
        empty="no coordinator runs. One starts when a prompt needs it, or: coordinator start MODEL",
    )


def placement_lines(shares: tuple[Share, ...]) -> list[str]:
    """One sentence per holder: how many layers and bytes."""
    return [_holding(share) for share in shares if share.model_bytes]


def _holding(share: Share) -> str:
    parts = [plural(share.layers, "layer")] if share.layers else []
    parts += [f"{gib(share.model_bytes)} of weights"]
    parts += [f"{gib(share.kv_bytes)} of KV cache"] if share.kv_bytes else []
    return f"{share.endpoint}: {', '.join(parts)}"
