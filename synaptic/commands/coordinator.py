"""coordinator: the local servers that hold models over workers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import coordinators, models
from synaptic.commands.grammar import Complete
from synaptic.commands.registry import registry
from synaptic.results import Cell, Json, Note, Rows, Style, gib, plural, to_json

if TYPE_CHECKING:
    from synaptic.process.coordinator import Coordinator
    from synaptic.process.placement import Share
    from synaptic.session import Session

_STYLES: dict[str, Style] = {"ready": "good", "starting": "attention", "failed": "bad"}


@dataclasses.dataclass(frozen=True)
class CoordinatorRecord:
    """What `status --json` and `coordinator list --json` say of one coordinator."""

    model: str
    engine: str
    state: str
    pid: int | None
    port: int | None
    backends: tuple[str, ...]
    placement: tuple[Share, ...]
    cause: str
    log: str

    def as_json(self) -> Json:
        return {field.name: to_json(getattr(self, field.name)) for field in dataclasses.fields(self)}


def record(coordinator: Coordinator) -> CoordinatorRecord:
    return CoordinatorRecord(
        model=coordinator.plan.model.name,
        engine="llama.cpp",
        state=coordinator.state.value,
        pid=coordinator.child.pid,
        port=coordinator.port,
        backends=tuple(map(str, coordinator.plan.workers)),
        placement=coordinator.shares(),
        cause=coordinator.child.cause,
        log=str(coordinator.child.spec.log),
    )


@registry.command("coordinator list", group="models")
async def list_(session: Session) -> Rows[CoordinatorRecord]:
    """Show the coordinators, and how much of their model lies on which worker."""
    return rows(session)


@registry.command("coordinator start", group="models")
async def start(session: Session, model: Annotated[str, Complete(models)]) -> Note:
    """Load a model now rather than at the first prompt, and prove where its layers lie.

        coordinator start demo

    See also: coordinator list, coordinator stop
    """
    session.know_backends()
    route = await session.answering.route(model)
    coordinator = await session.coordinators.ensure(route.plan)
    lines = [f"  {line}" for line in placement_lines(coordinator.shares())]
    text = "\n".join([f"{route.plan.model.name} is ready · llama.cpp :{coordinator.port} ({route.why})", *lines])
    return Note(text, {"coordinator": record(coordinator)}, holds=True)


@registry.command("coordinator stop", group="models")
async def stop(session: Session, model: Annotated[str | None, Complete(coordinators)] = None) -> Note:
    """Stop the coordinator of a model, or all of them. Workers stay; their memory is free again."""
    busy = [each.plan.model.name for each in session.coordinators.all() if each.generating]
    if busy and not await session.confirm(f"{', '.join(busy)} is answering; stop it?"):
        return Note("nothing changed")
    stopped = await session.coordinators.stop(model)
    return Note(f"stopped {', '.join(stopped)}" if stopped else "no coordinator runs", {"stopped": stopped})


@registry.command("coordinator restart", group="models")
async def restart(session: Session, model: Annotated[str | None, Complete(coordinators)] = None) -> Note:
    """Stop the coordinator of a model, or the newest one, and start it again on the workers that are ready now."""
    name = session.coordinators.of(model).plan.model.name
    await session.coordinators.stop(name)
    return await start(session, name)


def rows(session: Session) -> Rows[CoordinatorRecord]:
    return Rows(
        key="coordinators",
        items=[record(each) for each in session.coordinators.all()],
        columns={
            "model": lambda each: each.model,
            "state": lambda each: Cell(each.state, _STYLES.get(each.state, "")),
            "port": lambda each: str(each.port or "–"),
            "pid": lambda each: str(each.pid or "–"),
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
