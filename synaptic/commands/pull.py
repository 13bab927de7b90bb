"""model pull: fetch a model, from the web into a folder here, or by an Ollama server into its own store."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic.commands.in_thread import in_thread
from synaptic.commands.registry import registry
from synaptic.errors import EngineError, SynapticError, UsageError
from synaptic.events import Noticed
from synaptic.files import path_of
from synaptic.models.meter import Meter
from synaptic.results import Note, gib, plural
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from synaptic.cluster.nodes import Node
    from synaptic.models.address import Address
    from synaptic.models.download import Fetched
    from synaptic.session import Session


@registry.command("model pull", group="models")
async def pull(session: Session, name: str, *, sha256: str | None = None, to: Path | None = None, on: str | None = None) -> Note:
    """Fetch a model: a .gguf file by its http or https address, or a name of Ollama's library through an Ollama node.

    A download that was interrupted goes on where it was when the command is repeated. A model in several files comes
    whole, whichever of them is named. --to is the folder for the file, --on the URL of the node.

        model pull https://example.com/models/llama-3.1-70b-q4_k_m.gguf --sha256 HEX
        model pull llama3.2:3b
        model pull llama3.2:3b --on http://192.168.1.20:11434

    See also: model list, nodes list, cache seed
    """
    from synaptic.models.address import is_url

    if is_url(name):
        if on:
            raise UsageError("--on is for names that an Ollama node fetches", hint="leave it out, or give a name")
        return await _from_web(session, name, sha256, to)
    if sha256 or to:
        raise UsageError("--sha256 and --to are for addresses", hint="an Ollama node checks and keeps its models itself")
    return await _by_node(session, name, on)


async def _from_web(session: Session, url: str, sha256: str | None, to: Path | None) -> Note:
    from synaptic.models.address import Address, all_parts

    parts = all_parts(Address.parse(url))
    folder = models_folder(session, to, "--to")
    digest = _digest(sha256, parts)
    fetched = [await _fetch(session, part, folder / part.file, digest) for part in parts]
    new = [each for each in fetched if each]
    first = folder / parts[0].file
    header = await asyncio.to_thread(_header_bytes, first)
    known = first.stem if session.catalog.knows(first.stem) else str(first)
    text = f"{first} is here: {gib(header)}" if new else f"{first} was here already: {gib(header)}"
    if kept := sum(each.kept for each in new):
        text += f", of which {gib(kept)} were left from before"
    checked = all(each.sha256 for each in new) and bool(new)
    data = {"path": first, "bytes": header, "files": len(parts), "fetched": len(new), "kept": kept, "checked": checked}
    return Note(text + (", and its checksum is right" if checked else ""), data, hint=f"try: model use {known}")


async def _fetch(session: Session, part: Address, target: Path, digest: str | None) -> Fetched | None:
    """None: it was there."""
    from synaptic.models.download import download

    if await asyncio.to_thread(target.exists):
        return None
    meter, what = Meter(), f"fetching {one_line(part.file, 60)}"
    try:
        with session.bus.work(what) as work:
            return await in_thread(work, what, meter, lambda: download(part, target, meter, sha256=digest))
    except asyncio.CancelledError:
        if meter.done:
            text = f"{gib(meter.done)} of {one_line(part.file, 60)} are kept; the same command goes on there"
            session.bus.publish(Noticed(text=text))
        raise


def models_folder(session: Session, named: Path | None, flag: str) -> Path:
    """Where new models go: the folder that is named by `flag`, else our own."""
    if named:
        return path_of(named).absolute()
    if session.environment.models_dir is None:
        raise SynapticError("there is no home folder to keep models in", hint=f"name one: {flag} <folder>")
    return session.environment.models_dir


def _digest(sha256: str | None, parts: list[Address]) -> str | None:
    if sha256 is None:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError("--sha256 takes 64 hexadecimal digits")
    if len(parts) > 1:
        raise UsageError(f"--sha256 is of one file, and this model has {len(parts)}", hint="leave it out")
    return sha256.lower()


def _header_bytes(path: Path) -> int:
    from synaptic.models.split import read_whole

    return read_whole(path).file_bytes


async def _by_node(session: Session, name: str, on: str | None) -> Note:
    from synaptic.engines.ollama_pull import pull as ask_for

    node = await _ollama(session, on)
    what = f"{node.endpoint} fetches {one_line(name, 60)}"
    with session.bus.work(what) as work:
        async with contextlib.aclosing(ask_for(node.url, name, key=session.nodes.key(node.url))) as steps:
            async for step in steps:
                work.update(f"{what}: {step.status}", done=step.done, total=step.total, unit="B")
    await session.nodes.refresh()
    return Note(
        f"{one_line(name, 60)} is at {node.endpoint}", {"model": name, "node": node.url}, hint=f"try: model use {one_line(name, 60)}"
    )


async def _ollama(session: Session, on: str | None) -> Node:
    """The named one, else the first that answers, this machine's before others."""
    from synaptic.cluster.backend import Kind
    from synaptic.server_url import server_url

    states = [state for state in await session.nodes.refresh(max_age=10.0) if state.node.kind is Kind.OLLAMA]
    if on:
        named = [state for state in states if on == state.node.name or state.node.url == server_url(on)]
        if not named:
            raise UsageError(f"{one_line(on, 60)} is no Ollama node that is known here", hint=f"try: nodes add {one_line(on, 60)}")
        return named[0].node
    ready = sorted((state for state in states if state.is_ready), key=lambda state: not state.node.endpoint.is_loopback)
    if not ready:
        count = plural(len(states), "Ollama node")
        raise EngineError(
            f"no Ollama node answers that could fetch it ({count} asked)", hint="try: nodes list; or: model pull <address of a .gguf file>"
        )
    return ready[0].node
