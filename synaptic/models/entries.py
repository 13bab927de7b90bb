"""
Every model that can be named, by name alone: no file is opened, no server asked.

A name is given once, in this order: the shipped model, files in folders, Ollama's stores here, what servers offer. A model
that a store here and servers have under one name of Ollama's is one entry.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from synaptic.files import path_of
from synaptic.models.folders import model_files
from synaptic.models.model import OLLAMA, Offer
from synaptic.models.ollama_name import canonical
from synaptic.models.ollama_store import Stored, listed
from synaptic.models.split import name_of

DEMO = "demo"
SHIPPED, FOLDER, FILE, STORE, NODE = "shipped", "folder", "file", "ollama", "node"


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where to look for it: `path`, else `stored`, else only the servers of `offers`."""

    name: str
    source: str
    path: Path | None = None
    stored: Stored | None = None
    offers: tuple[Offer, ...] = ()

    @property
    def where(self) -> str:
        if self.source == SHIPPED:
            return SHIPPED
        if self.path:
            return str(self.path.parent)
        return str(self.stored.store) if self.stored else ", ".join(dict.fromkeys(offer.node for offer in self.offers))

    @cached_property
    def canonical(self) -> str | None:
        """Whole, where the name is one of Ollama's."""
        if self.stored:
            return self.stored.name.canonical
        return canonical(self.name) if any(offer.engine == OLLAMA for offer in self.offers) else None


def entries(demo: Path | None, folders: Sequence[Path], stores: Sequence[Path], offers: Sequence[Offer]) -> list[Entry]:
    found = {entry.name.casefold(): entry for entry in _files(demo, folders)}
    for stored in listed(stores):
        name = stored.name.short if stored.name.short.casefold() not in found else stored.name.canonical
        found.setdefault(name.casefold(), Entry(name, STORE, stored=stored))
    by_canonical = {entry.canonical: key for key, entry in found.items() if entry.canonical}
    for offer in offers:
        whole = canonical(offer.name) if offer.engine == OLLAMA else None
        key = by_canonical.get(whole, offer.name.casefold()) if whole else offer.name.casefold()
        entry = found.get(key) or Entry(offer.name, NODE)
        found[key] = dataclasses.replace(entry, offers=(*entry.offers, offer))
        if whole:
            by_canonical.setdefault(whole, key)
    return list(found.values())


def called(name: str, among: Sequence[Entry]) -> Entry | None:
    """As it is written, else in another case, else another form of the same name."""
    exact = next((entry for entry in among if entry.name == name), None)
    exact = exact or next((entry for entry in among if entry.name.casefold() == name.casefold()), None)
    whole = None if exact else canonical(name)
    return exact or (next((entry for entry in among if entry.canonical == whole), None) if whole else None)


def path_in(name: str) -> Path | None:
    """A name that is meant as a path, made absolute; links stay links."""
    if os.sep not in name and not name.lower().endswith((".gguf", ".m")):
        return None
    return Path(os.path.abspath(path_of(name)))  # noqa: PTH100 - .. goes, links stay


def is_plainly_path(name: str) -> bool:
    """`org/model` may be either; these cannot be a name."""
    return name.startswith(("/", ".", "~")) or name.lower().endswith((".gguf", ".m"))


def stat_of(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # not there, out of reach, or no name a file can have
        return None


def is_file(path: Path) -> bool:
    found = stat_of(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def is_same(one: Path, other: Path) -> bool:
    first, second = stat_of(one), stat_of(other)
    return first is not None and second is not None and os.path.samestat(first, second)


def _files(demo: Path | None, folders: Sequence[Path]) -> Iterator[Entry]:
    """Each name once: a file whose name is taken goes by its path."""
    taken: set[str] = set()
    if demo is not None and stat_of(demo) is not None:
        taken.add(DEMO)
        yield Entry(DEMO, SHIPPED, demo)
    for path in model_files(folders):
        name = name_of(path)
        if name is None:
            continue
        name = str(path) if name.casefold() in taken else name
        taken.add(name.casefold())
        yield Entry(name, FOLDER, path)
