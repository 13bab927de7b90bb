"""cache: what the caching rpc-servers of this machine keep on disk, and how to fill and empty that."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import local_workers, models
from synaptic.commands.grammar import Complete
from synaptic.commands.in_thread import in_thread
from synaptic.commands.registry import registry
from synaptic.dllama.sizes import bytes_of
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError, SynapticError, UsageError
from synaptic.events import Noticed
from synaptic.models.meter import Meter
from synaptic.results import Cell, Facts, Note, Rows, gib, plural

if TYPE_CHECKING:
    from synaptic.models.tensor_hash import Stretch
    from synaptic.session import Session

SLOW = "numba is not installed, so hashing takes a minute for each GiB; faster: engine install builtin"


@dataclasses.dataclass(frozen=True)
class Size:
    """A number of bytes as typed: 500M, 20GB and 20GiB, of 1024s all of them, 0."""

    bytes: int

    @classmethod
    def parse(cls, text: str) -> Size:
        found = bytes_of(text)
        if found is None:
            raise UsageError(f'"{text}" is no size', hint="such as 500M, 20G or 0")
        return cls(found)


@dataclasses.dataclass(frozen=True)
class Content:
    folder: Path
    tensors: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Share:
    """How much of what a model's workers may keep is in a folder, and whose folder that is."""

    model: str
    folder: Path
    workers: tuple[Endpoint, ...]
    held: int
    of: int


@registry.command("cache list", group="workers")
async def list_(session: Session) -> Facts:
    """Show which share of each model the caching workers of this machine hold on disk, and so need not be sent.

    Only tensors of more than 10 MiB are ever kept. The share is judged by sizes and samples.

    See also: cache seed, cache gc, worker start
    """
    folders = _folders(session)
    kept = await asyncio.to_thread(lambda: [_kept(folder) for folder in folders])
    shares = await asyncio.to_thread(_shares, session, folders)
    table = Rows(
        key="models",
        items=shares,
        columns={
            "model": lambda share: share.model,
            "held": lambda share: _percent(share),
            "bytes": lambda share: f"{gib(share.held)} of {gib(share.of)}" if share.of else Cell("no tensor of more than 10 MiB", "dim"),
            "workers": lambda share: ", ".join(map(str, share.workers)) or Cell("none runs; try: worker start --cache", "dim"),
        },
    )
    facts: list[tuple[str, str | Cell]] = [(str(each.folder), f"{plural(each.tensors, 'tensor')}, {gib(each.bytes)}") for each in kept]
    return Facts(facts, {"folders": kept, "models": shares}, tables=[("models", table)])


@registry.command("cache seed", group="workers")
async def seed(
    session: Session, model: Annotated[str, Complete(models)], *, on: Annotated[Endpoint | None, Complete(local_workers)] = None
) -> Note:
    """Put a model's tensors where the caching workers of this machine look, so that a load sends only their hashes.

    Run it on each machine that has a worker and a copy of the file; nothing goes over the network. What is there
    is not written again. Interrupt it and repeat the command: it goes on where it was.

        cache seed llama-3.1-70b-q4_k_m
        cache seed ~/models/llama-3.1-70b-q4_k_m.gguf --on 127.0.0.1:50052

    See also: cache list, worker start, model pull
    """
    from synaptic.models.fnv import is_fast
    from synaptic.models.model import file_of
    from synaptic.models.seed import room_for
    from synaptic.models.seed import seed as fill
    from synaptic.models.tensor_cache import held, kept_in, sent_weights

    folder = _folder_on(session, on) if on else folder_of(session)
    found = await asyncio.to_thread(session.catalog.find, model)
    weights = await asyncio.to_thread(sent_weights, file_of(found))
    total = sum(each.bytes for each in weights)
    await asyncio.to_thread(lambda: room_for(total - held(weights, folder, kept_in(folder)), folder))
    if weights and not is_fast():
        session.bus.publish(Noticed(text=SLOW, attention=True))
    meter = Meter(total)
    with session.bus.work(f"seeding {found.name}") as work:
        done = await in_thread(work, f"seeding {found.name}", meter, lambda: fill(weights, folder, meter.add, meter.stop))
    text = f"{found.name}: {plural(done.written, 'tensor')} written ({gib(done.bytes_written)}), {done.there} were there"
    return Note(
        text if weights else f"{found.name} has no tensor of more than 10 MiB: there is nothing to keep",
        {"model": found.name, "folder": folder, **dataclasses.asdict(done), "bytes": total},
        hint=None if any(worker.cache == folder for worker in session.workers.all()) or not weights else "try: worker start --cache",
    )


@registry.command("cache gc", group="workers")
async def gc(session: Session, *, limit: Size = Size(50 * 1024**3)) -> Note:
    """Remove what was longest unused, until the rest fits into a size: 50 GiB, unless --limit says another.

    Not while a coordinator that may still be loading holds one of the workers.

        cache gc --limit 20G
        cache gc --limit 0 --yes

    See also: cache list, cache check
    """
    from synaptic.models.tensor_cache import alone, kept_in, remove, surplus

    folder = folder_of(session)
    await _refuse_while_loading(session, folder)
    with alone(folder):
        kept = await asyncio.to_thread(kept_in, folder)
        going = surplus(kept, limit.bytes)
        size = sum(each.bytes for each in going)
        if going and not await session.confirm(f"remove {plural(len(going), 'tensor')}, {gib(size)}?"):
            return Note("nothing changed")
        await _refuse_while_loading(session, folder)  # the question may have waited for long
        freed = await asyncio.to_thread(remove, folder, going)
    left = gib(sum(each.bytes for each in kept) - size)
    return Note(f"removed {plural(len(going), 'tensor')}: {gib(freed)} freed, {left} left", {"removed": len(going), "freed": freed})


@registry.command("cache check", group="workers")
async def check(session: Session) -> Note:
    """Hash every kept tensor and remove those that are not what their name says: a worker would load them as wrong weights.

    A full disk, or a worker that was killed while it loaded, leaves such files.

    See also: cache list
    """
    from synaptic.models.fnv import is_fast
    from synaptic.models.tensor_cache import alone, damaged, kept_in, remove

    folder = folder_of(session)
    await _refuse_while_loading(session, folder)
    if not is_fast():
        session.bus.publish(Noticed(text=SLOW, attention=True))
    with alone(folder), session.bus.work("checking the kept tensors") as work:
        kept = await asyncio.to_thread(kept_in, folder)
        meter = Meter(sum(each.bytes for each in kept))
        bad = await in_thread(work, "checking the kept tensors", meter, lambda: damaged(folder, kept, meter.add, meter.stop))
        await asyncio.to_thread(remove, folder, bad)
    text = f"{plural(len(kept), 'tensor')} checked, " + (f"{len(bad)} damaged and removed" if bad else "all are whole")
    return Note(text, {"checked": len(kept), "removed": [each.name for each in bad]}, style="attention" if bad else "")


def folder_of(session: Session) -> Path:
    from synaptic.models.tensor_cache import cache_folder

    folder = cache_folder(session.environment)
    if folder is None:
        raise SynapticError("there is no home folder to keep tensors in", hint="export HOME, or LLAMA_CACHE")
    return folder


def _folders(session: Session) -> list[Path]:
    return sorted({folder_of(session), *(worker.cache for worker in session.workers.all() if worker.cache)})


def _folder_on(session: Session, endpoint: Endpoint) -> Path:
    worker = next((each for each in session.workers.all() if each.endpoint == endpoint), None)
    if worker is None:
        raise BackendError(f"{endpoint} is no worker that was started on this machine", hint="run cache seed there")
    if worker.cache is None:
        raise BackendError(f"{endpoint} keeps no tensors", hint=f"try: worker stop {endpoint}, then: worker start --cache")
    return worker.cache


def _kept(folder: Path) -> Content:
    from synaptic.models.tensor_cache import kept_in

    kept = kept_in(folder)
    return Content(folder, len(kept), sum(each.bytes for each in kept))


def _shares(session: Session, folders: list[Path]) -> list[Share]:
    from synaptic.models.tensor_cache import held, kept_in

    workers = session.workers.all()
    shares = []
    for name, weights in _weights(session):
        for folder in folders:
            users = tuple(worker.endpoint for worker in workers if worker.cache == folder)
            shares.append(Share(name, folder, users, held(weights, folder, kept_in(folder)), sum(each.bytes for each in weights)))
    return shares


def _weights(session: Session) -> list[tuple[str, list[Stretch]]]:
    from synaptic.models.tensor_cache import sent_weights

    found = []
    for model in session.catalog.models():
        if model.path is None:
            continue
        try:
            found.append((model.name, sent_weights(model.path)))
        except EngineError:  # not a GGUF file, or gone meanwhile: `model list` tells of it
            continue
    return found


def _percent(share: Share) -> str | Cell:
    if not share.of:
        return Cell("–", "dim")
    percent = 100 * share.held // share.of
    return Cell(f"{percent} %", "good" if percent == 100 else "")


async def _refuse_while_loading(session: Session, folder: Path) -> None:
    """A server that finds a file and cannot open it a moment later dies of it."""
    from synaptic.process.workers import has_client

    ready = {endpoint for each in session.coordinators.up() if each.state.value == "ready" for endpoint in each.plan.workers}
    for worker in session.workers.all():
        if worker.cache == folder and worker.endpoint not in ready and await has_client(worker):
            raise BackendError(
                f"{worker.endpoint} is held by a coordinator that may be loading", hint="try again later, or: coordinator stop"
            )
