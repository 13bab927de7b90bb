"""dllama root and dllama worker: the built-in engine, as the one who asks and as one who lends a hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.cache import Size
from synaptic.commands.complete import models
from synaptic.commands.coordinator import start_root
from synaptic.commands.grammar import Choice, Complete
from synaptic.commands.registry import registry
from synaptic.commands.worker import BUILTIN, start
from synaptic.errors import UsageError
from synaptic.results import Note

if TYPE_CHECKING:
    from synaptic.session import Session


@registry.command("dllama root", group="models")
async def root(
    session: Session,
    model: Annotated[str, Complete(models)],
    *,
    split: Annotated[str | None, Choice("tensor", "layers", "none")] = None,
    memory: Size | None = None,
) -> Note:
    """Load a .m model with the built-in root: over the known dllama workers, or on this machine. Prompts for it go there then.

    --split tensor gives every worker a share of every layer, as distributed-llama itself does (1, 3, 7 … workers);
    layers gives each a run of layers, any number of workers, more to the faster ones; none keeps it on this machine,
    read from its file again and again where it is bigger than --memory, or than what is free here.

        dllama root config/demo/demo-q40.m --split layers
        dllama root ~/models/qwen3-32b.m --split none --memory 8GiB
        ask --model config/demo/demo-q40.m --via builtin What is a worker?

    See also: dllama list, coordinator start, worker start
    """
    found = await asyncio.to_thread(session.catalog.find, model)
    if not session.dllama_routes.can(found):
        raise UsageError(f"{found.name} is no .m file on this machine", hint=f"try: model convert {found.name}")
    route = await session.dllama_routes.rooted(found, split=split, is_forced=True)
    return await start_root(session, route, memory.bytes if memory else None)


@registry.command("dllama worker", group="workers")
async def worker(
    session: Session,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    threads: int | None = None,
    count: int = 1,
    model: Path | None = None,
) -> Note:
    """Start our own distributed-llama worker on this machine: the same as `worker start --engine builtin`.

        dllama worker --host 192.168.1.10 --threads 4
        dllama worker --model ~/models/qwen3-8b.m

    See also: worker start, worker list, dllama root
    """
    return await start(session, engine=BUILTIN, count=count, host=host, port=port, threads=threads, model=model)
