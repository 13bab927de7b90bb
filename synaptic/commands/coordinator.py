"""coordinator: the local servers that hold models over workers."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import coordinators, models
from synaptic.commands.grammar import Complete
from synaptic.commands.registry import registry
from synaptic.models.model import BUILTIN, DLLAMA, LLAMA_CPP
from synaptic.results import Cell, Note, Rows, Style, gib, plural

if TYPE_CHECKING:
    from synaptic.engines.running_root import RunningRoot
    from synaptic.planning.plan import Route
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


def record_of_root(root: RunningRoot) -> CoordinatorRecord:
    """A root of ours is a part of this process, and listens nowhere."""
    return CoordinatorRecord(
        model=root.plan.model.name,
        engine=BUILTIN,
        state=root.state,
        pid=os.getpid(),
        port=None,
        backends=tuple(map(str, root.workers)),
        placement=root.shares(),
        cause=root.detail,
        log="",
        owner=os.getpid(),
        is_ours=True,
        relay=False,
        traffic=(),
    )


@registry.command("coordinator list", group="models")
async def list_(session: Session) -> Rows[CoordinatorRecord]:
    """Show the coordinators of this machine, whose they are, and how much of their model lies on which worker.

    One that another shell runs is shared; one that was left by a shell that has ended belongs to the next that uses it.

    See also: coordinator start, coordinator stop, status
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
    stands_in = found.is_shipped and session.has_no_llama
    via = BUILTIN if stands_in else DLLAMA if session.dllama_routes.can(found) else LLAMA_CPP
    route = await session.answering.route(model, via=via)
    assert route.plan
    if route.via == BUILTIN:
        return await start_root(session, route)
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
    """Stop the coordinator of a model, or all of them, whoever started them. Workers stay; their memory is free again.

        coordinator stop demo
        coordinator stop

    See also: coordinator list, coordinator restart
    """
    session.coordinators.look()
    roots = [each for each in _roots(session) if model in (None, each.plan.model.name)]
    up = [each for each in session.all_coordinators() if each.child.pid and model in (None, each.plan.model.name)]
    busy = [each.plan.model.name for each in (*up, *roots) if each.is_busy]
    if busy and not await session.confirm(f"{', '.join(busy)} is answering; stop it?"):
        return Note("nothing changed")
    is_dllama = session.is_dllama(model) or (model is not None and bool(roots))
    stopped = [] if is_dllama else await session.coordinators.stop(model)
    stopped += await session.roots.stop(model) if roots else []
    if any(each.engine == DLLAMA for each in up):
        stopped += await session.dllama_apis.stop(model)
    return Note(f"stopped {', '.join(stopped)}" if stopped else "no coordinator runs", {"stopped": stopped})


@registry.command("coordinator restart", group="models")
async def restart(session: Session, model: Annotated[str | None, Complete(coordinators)] = None, *, relay: bool = False) -> Note:
    """Stop the coordinator of a model, or the newest one, and start it again on the workers that are ready now.

        coordinator restart
        coordinator restart demo --relay

    See also: coordinator list, coordinator start
    """
    session.coordinators.look()
    roots = [each.plan.model.name for each in _roots(session)]
    if model is None and not session.coordinators.all():
        model = next(iter(roots), None)
    if model is None or not (model in roots or session.is_dllama(model)):
        model = session.coordinators.of(model).plan.model.name
    stopping = session.roots if model in roots else session.dllama_apis if session.is_dllama(model) else session.coordinators
    loaded = session.roots.of(model) if model in roots else None
    await stopping.stop(model)
    if loaded and loaded.is_pinned:  # cut as it was loaded, whatever the settings say
        route = await session.dllama_routes.rooted(loaded.plan.model, split=loaded.split, is_forced=True)
        return await start_root(session, route, loaded.memory)
    return await start(session, model, relay=relay)


def rows(session: Session) -> Rows[CoordinatorRecord]:
    return Rows(
        key="coordinators",
        items=[*map(record, session.all_coordinators()), *map(record_of_root, _roots(session))],
        columns={
            "model": lambda each: each.model,
            "engine": lambda each: each.engine,
            "state": lambda each: Cell(each.state, _STYLES.get(each.state, "")),
            "port": lambda each: str(each.port or "–"),
            "pid": lambda each: str(each.pid or "–"),
            "owner": lambda each: each.whose if each.pid else "–",
            "layers": lambda each: ", ".join(map(_layers, filter(_has_layers, each.placement))) or "–",
            "cause": lambda each: Cell(each.cause, "dim"),
        },
        empty="no coordinator runs. a prompt that needs one starts it, or: coordinator start MODEL",
    )


async def start_root(session: Session, route: Route, memory: int | None = None) -> Note:
    """Load the model of the route with the built-in root."""
    assert route.plan
    wanted = dataclasses.replace(session.dllama_routes.to_root(route.plan), memory=memory, is_pinned=True)
    root = (await session.roots.ensure(wanted)).seen
    lines = [f"  {line}" for line in (*placement_lines(root.shares()), root.detail) if line]
    document = {"model": route.model.name, "split": root.split, "workers": root.workers, "coordinator": record_of_root(root)}
    hint = None if route.model.name == session.settings.now.model else f"model use {route.model.name} sends your prompts there"
    text = "\n".join([f"{route.model.name} is ready · builtin · {route.where} ({route.why})", *lines])
    return Note(text, document, hint=hint, holds=True)


def placement_lines(shares: tuple[Share, ...]) -> list[str]:
    """One sentence per holder: how many layers and bytes."""
    return [_holding(share) for share in shares if share.model_bytes]


def _roots(session: Session) -> list[RunningRoot]:
    return session.roots.all() if session.is_open("roots") else []


def _has_layers(share: Share) -> bool:
    return share.layers > 0


def _layers(share: Share) -> str:
    return f"{share.endpoint} {share.layers}{' (own file)' if share.from_file else ''}"


def _holding(share: Share) -> str:
    parts = [plural(share.layers, "layer")] if share.layers else []
    parts += [f"{gib(share.model_bytes)} of weights"]
    parts += [f"{gib(share.kv_bytes)} of KV cache"] if share.kv_bytes else []
    parts += ["from a file there: no weights were sent"] if share.from_file else []
    return f"{share.endpoint}: {', '.join(parts)}"
