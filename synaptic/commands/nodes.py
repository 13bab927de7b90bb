"""nodes: servers with models of their own: Ollama, llama-server, vLLM, dllama-api, and others of the OpenAI API."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import configured_nodes
from synaptic.commands.grammar import Complete
from synaptic.commands.nodes_file import FILE, read_nodes, write_nodes
from synaptic.commands.registry import registry
from synaptic.errors import BackendError, SynapticError, UsageError
from synaptic.files import path_of
from synaptic.results import Cell, Note, Rows, Style, Watch, plural
from synaptic.settings.nodes import NodeEntry, add, is_variable, remove
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synaptic.cluster.backend import Backend
    from synaptic.cluster.node import NodeState
    from synaptic.session import Session

_STYLES: dict[str, Style] = {"ready": "good", "resting": "attention", "lost": "bad", "down": "bad"}


@registry.command("nodes list", group="workers", aliases=("nodes",))
async def list_(session: Session, *, watch: bool = False) -> Rows[NodeState] | Watch:
    """Show the known servers of models and how they are now. --watch keeps asking.

    The Ollama of this machine is known by itself, where OLLAMA_HOST says or at 127.0.0.1:11434.

        nodes list
        nodes list --watch

    See also: nodes add, nodes health, nodes discover
    """
    if watch:
        return Watch(lambda: _table(session), seconds=2.0)
    return await _table(session)


@registry.command("nodes add", group="workers", aliases=("add",))
async def add_(session: Session, url: str, *, name: str = "", priority: int = 0, key_env: str = "", timeout: float = 2.0) -> Note:
    """Use a server of models: an address of Ollama, or of anything that speaks the OpenAI API.

    It is saved even when it does not answer now. Port 11434 unless said otherwise. --key-env names the environment variable
    that holds its API key; the key itself is never saved. A higher --priority is preferred among equals.

        nodes add 192.168.1.10
        nodes add http://192.168.1.11:8000 --name attic --priority 1
        nodes add https://models.example.org --key-env EXAMPLE_KEY

    See also: nodes list, nodes remove, nodes discover
    """
    from synaptic.server_url import server_url

    if key_env and not is_variable(key_env):
        raise UsageError("--key-env takes the name of an environment variable, not the key", hint="try: --key-env EXAMPLE_KEY")
    entry = NodeEntry(server_url(url), name, priority, key_env=key_env)
    if await _is_outside(entry.url) and not await session.confirm(f"{entry.url} is not on your own networks: send prompts there?"):
        return Note("nothing changed")
    return await _added(session, [entry], timeout)


@registry.command("nodes remove", group="workers", aliases=("remove",))
async def remove_(session: Session, url: Annotated[str, Complete(configured_nodes)]) -> Note:
    """Forget a server. It keeps running; its address is dropped from the settings.

        nodes remove 192.168.1.10
        nodes remove attic

    See also: nodes list
    """
    chosen = _named(session, url)
    await session.edit_nodes(lambda document: _ignore(remove(document, [chosen])))
    return Note(f"removed {chosen}", {"removed": [chosen]})


@registry.command("nodes health", group="workers", aliases=("health",))
async def health(session: Session, *, timeout: float = 2.0) -> Rows[NodeState]:
    """Ask every server now, also those that are left alone for a while after a failure. None is forgotten for being away.

        nodes health
        nodes health --timeout 5

    See also: nodes list
    """
    session.nodes.forgive()
    table = await _table(session, timeout)
    return dataclasses.replace(table, exit_code=0 if any(state.is_ready for state in table.items) else BackendError.exit_code)


@registry.command("nodes save", group="workers", aliases=("save",))
async def save(session: Session, file: str = "") -> Note:
    """Write the configured servers to a file that `nodes load` reads. Keys are not in it, only the names of their variables.

    Without a file it is ~/.synapticllamas_nodes.json.

        nodes save attic.json

    See also: nodes load
    """
    path = _path(session, file)
    entries = session.settings.now.nodes
    if await asyncio.to_thread(_is_something_else, path) and not await session.confirm(f"{path} holds something else; overwrite it?"):
        return Note("nothing changed")
    await asyncio.to_thread(write_nodes, path, entries)
    return Note(f"saved {plural(len(entries), 'node')} to {path}", {"saved": len(entries), "path": str(path)})


@registry.command("nodes load", group="workers", aliases=("load",))
async def load(session: Session, file: str = "", *, timeout: float = 2.0) -> Note:
    """Add the servers of a file to those that are known; those that do not answer now too. Nothing is dropped.

    Without a file it is ~/.synapticllamas_nodes.json.

        nodes load attic.json

    See also: nodes save
    """
    path = _path(session, file)
    entries, bad = await asyncio.to_thread(read_nodes, path)
    outside = [entry.url for entry in entries if await _is_outside(entry.url)]
    if outside and not await session.confirm(f"{', '.join(outside)}: not on your own networks; send prompts there?"):
        entries = tuple(entry for entry in entries if entry.url not in outside)
    note = await _added(session, entries, timeout)
    return dataclasses.replace(note, text="\n  ! ".join([note.text, *bad]), data={**(note.data or {}), "skipped": bad})


async def add_found(session: Session, found: Sequence[Backend]) -> list[str]:
    """Save servers that a discovery proved to be some; the URLs of those that are new."""
    entries = [NodeEntry(f"http://{backend.endpoint}", kind=backend.kind.value) for backend in found]
    new: list[NodeEntry] = []
    if entries:
        await session.edit_nodes(lambda document: new.extend(add(document, entries)))
    return [entry.url for entry in new]


async def _added(session: Session, entries: Sequence[NodeEntry], timeout: float) -> Note:
    """Save them, look at each, and save what each proved to be."""
    urls = [entry.url for entry in entries]
    new: list[NodeEntry] = []
    await session.edit_nodes(lambda document: new.extend(add(document, entries)))
    states = await session.nodes.refresh_these(urls, within=timeout)
    proved = [NodeEntry(state.node.url, kind=state.node.kind.value) for state in states if state.last_seen]
    if proved:
        await session.edit_nodes(lambda document: _ignore(add(document, proved)))
    text = f"added {plural(len(new), 'node')}" if new else "already known" if urls else "no nodes there"
    lines = [f"{text}", *(_describe(state) for state in states), *_warnings(session, states)]
    away = [state for state in states if not state.last_seen]
    return Note(
        "\n  ".join(lines),
        {"added": [entry.url for entry in new], "backends": states},
        hint=f"{'saved' if session.settings.is_saved else 'not saved: known until you leave'}; nodes health asks again" if away else None,
    )


async def _table(session: Session, timeout: float = 1.5) -> Rows[NodeState]:
    """The Ollama of this machine goes without saying: it is left out when it is away and others are known."""
    states = await session.nodes.refresh(within=timeout)
    shown = [state for state in states if state.node.source != "default" or state.last_seen]
    return Rows(
        key="backends",
        items=shown,
        columns={
            "server": lambda state: state.node.url,
            "name": lambda state: state.node.name or "–",
            "kind": lambda state: f"{state.software or state.node.kind.value} {state.version}".strip(),
            "health": lambda state: Cell(state.health, _STYLES.get(state.health, "")),
            "models": lambda state: f"{len(state.offers)}{_loaded(state)}" if state.offers else "–",
            "running": lambda state: _running(state),
            "speed": lambda state: f"{state.tokens_per_second:.1f} tok/s" if state.tokens_per_second else "–",
            "latency": lambda state: f"{state.latency_ms:.0f} ms" if state.latency_ms is not None else "–",
            "detail": lambda state: Cell(state.detail or _told(state), "dim"),
        },
        empty="no servers of models. try: nodes add HOST, or: nodes discover",
    )


def _loaded(state: NodeState) -> str:
    count = sum(offer.is_loaded for offer in state.offers)
    return f" ({count} loaded)" if count else ""


def _running(state: NodeState) -> str:
    """Ours; of a server that tells, everybody's."""
    load = state.load
    return str(state.running) if load is None else f"{load.running}{f' + {load.waiting} waiting' if load.waiting else ''}"


def _told(state: NodeState) -> str:
    """What a vLLM serves, how long a conversation may be, and how busy it is."""
    if state.load is None:
        return ""
    names = ", ".join(f"{offer.name} ({offer.context} tokens)" if offer.context else offer.name for offer in state.offers[:2])
    return " · ".join(filter(None, (names, state.load.summary)))


def _describe(state: NodeState) -> str:
    if not state.last_seen:
        return f"{state.node.url}: {state.detail or 'no answer'}"
    models = plural(len(state.offers), "model")
    return f"{state.node.url}   {f'{state.software} {state.version}'.strip()} · {models} · {state.latency_ms or 0:.0f} ms"


def _warnings(session: Session, states: Sequence[NodeState]) -> list[str]:
    sentences = []
    for state in states:
        node = state.node
        if node.key_variable and session.nodes.key(node.url) is None:
            sentences.append(f"! {node.key_variable} is not set: {node.url} gets no key")
        elif node.key_variable and node.url.startswith("http://") and not node.endpoint.is_loopback:
            sentences.append(f"! the key travels to {node.url} unencrypted")
    return sentences


def _named(session: Session, text: str) -> str:
    """The URL of a configured server, by its address or its name."""
    from synaptic.server_url import server_url

    entries = session.settings.now.nodes
    if by_name := [entry.url for entry in entries if entry.name and entry.name == text]:
        return by_name[0]
    url = server_url(text)
    if url not in [entry.url for entry in entries]:
        raise BackendError(f"not configured: {one_line(text, 200)}", hint="try: nodes list")
    return url


async def _is_outside(url: str) -> bool:
    """Whether it is certainly on the public network. A name that leads nowhere now is not."""
    import ipaddress
    import socket

    from synaptic.server_url import endpoint_of

    endpoint = endpoint_of(url)
    try:
        return ipaddress.ip_address(endpoint.host.partition("%")[0]).is_global
    except ValueError:
        pass  # a name
    try:
        async with asyncio.timeout(2.0):
            found = await asyncio.get_running_loop().getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a TimeoutError is an OSError
        return False
    return any(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_global for each in found)


def _path(session: Session, file: str) -> Path:
    if file:
        return path_of(file).absolute()
    settings = session.environment.settings_file
    if settings is None:
        raise SynapticError("there is no home folder to keep it in", hint="name a file")
    return settings.with_name(FILE)


def _is_something_else(path: Path) -> bool:
    try:
        read_nodes(path)
    except SynapticError:
        return path.exists()
    return False


def _ignore(_: object) -> None:
    """What an edit answers, where nobody asks."""
