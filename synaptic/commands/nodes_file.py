"""The file of `nodes save` and `nodes load`: {"nodes": [{"url", "name", "priority", …}]}, as the original wrote it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from synaptic.errors import SynapticError, os_reason
from synaptic.results import Json
from synaptic.settings.nodes import NODES, NodeEntry, nodes_in
from synaptic.settings.text import LIMIT, BrokenFileError, Document, dump, parse

FILE = ".synapticllamas_nodes.json"


def read_nodes(path: Path) -> tuple[tuple[NodeEntry, ...], list[str]]:
    """Its servers, and a sentence for each entry that is none. Raises SynapticError for what is no such file."""
    document = _read(path)
    if not isinstance(document.get(NODES), list):
        raise SynapticError(f'{path} holds no list of "{NODES}"', hint="nodes save FILE writes one")
    return nodes_in(document[NODES])


def write_nodes(path: Path, entries: Sequence[NodeEntry]) -> None:
    """Whole or not at all. What the file says besides stays."""
    try:
        document = _read(path)
    except SynapticError:
        document = {}
    document[NODES] = [_written(entry) for entry in entries]
    beside = path.with_name(f"{path.name}.saving-{os.getpid()}")
    try:
        beside.write_bytes(dump(document))
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise SynapticError(f"{path} cannot be written: {os_reason(error)}") from error


def _read(path: Path) -> Document:
    try:
        if path.exists() and not path.is_file():
            raise SynapticError(f"{path} is no file")
        with path.open("rb") as file:
            return parse(file.read(LIMIT + 1))
    except OSError as error:
        raise SynapticError(f"{path} cannot be read: {os_reason(error)}", hint=f"nodes save {path} writes one") from error
    except BrokenFileError as broken:
        raise SynapticError(f"{path} is no file of nodes: {broken}") from broken


def _written(entry: NodeEntry) -> Json:
    """With the three keys of the original, always."""
    said = entry.as_json()
    assert isinstance(said, dict)
    return {"url": entry.url, "name": entry.name, "priority": entry.priority, **said}
