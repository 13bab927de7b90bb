"""
The servers that settings name: Ollama nodes and servers of the OpenAI API.

    "nodes": [{"url": "http://10.0.0.5:11434", "name": "attic", "priority": 1, "kind": "ollama", "key_env": "NAME"}]

Only `url` must be there. The original's second file, ~/.synapticllamas_nodes.json, is `{"nodes": [...]}` of the same
entries. Entries that nobody understands, and keys that nobody knows, stay as they are written.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from synaptic.errors import UsageError
from synaptic.results import Json
from synaptic.server_url import server_url
from synaptic.settings.text import Document

NODES = "nodes"
_KINDS = ("ollama", "openai")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}\Z")


@dataclasses.dataclass(frozen=True)
class NodeEntry:
    """`kind` is empty where nobody knows yet; `key_env` names the environment variable that holds its API key."""

    url: str
    name: str = ""
    priority: int = 0
    kind: str = ""
    key_env: str = ""

    @classmethod
    def of(cls, entry: Json) -> NodeEntry:
        """Raises ValueError with the reason, which holds no password."""
        if isinstance(entry, str):
            entry = {"url": entry}
        if not isinstance(entry, dict) or not isinstance(url := entry.get("url"), str):
            raise ValueError("an entry without a url")
        try:
            address = server_url(url)
        except UsageError as error:
            raise ValueError(str(error)) from None
        name, priority, kind, key_env = entry.get("name"), entry.get("priority"), entry.get("kind"), entry.get("key_env")
        return cls(
            address,
            name if isinstance(name, str) else "",
            priority if isinstance(priority, int) and not isinstance(priority, bool) else 0,
            str(kind) if kind in _KINDS else "",
            key_env if isinstance(key_env, str) and _VARIABLE.match(key_env) else "",
        )

    def as_json(self) -> Json:
        return {"url": self.url} | {key: value for key, value in dataclasses.asdict(self).items() if value and key != "url"}


def is_variable(name: str) -> bool:
    """Whether it can be the name of an environment variable."""
    return bool(_VARIABLE.match(name))


def nodes_in(value: Json) -> tuple[tuple[NodeEntry, ...], list[str]]:
    """The entries, each server once, and a sentence for each that is none."""
    good: dict[str, NodeEntry] = {}
    bad: list[str] = []
    for entry in _listed(value):
        try:
            node = NodeEntry.of(entry)
            good.setdefault(node.url, node)
        except ValueError as error:
            bad.append(f"{NODES}: {error}; skipped")
    return tuple(good.values()), bad


def usable(value: Json) -> tuple[NodeEntry, ...]:
    """The entries that are some. Raises ValueError when there is none among what stands there."""
    entries, bad = nodes_in(value)
    if bad and not entries:
        raise ValueError(bad[0])
    return entries


def merged(value: Json, wanted: Sequence[NodeEntry]) -> list[Json]:
    """The file's list with exactly these servers. What an entry said beyond what we know stays."""
    left = {entry.url: entry for entry in wanted}
    kept: list[Json] = []
    for each in _listed(value):
        try:
            url = NodeEntry.of(each).url
        except ValueError:
            kept.append(each)
            continue
        if entry := left.pop(url, None):
            kept.append(_updated(each, entry))
    return kept + [entry.as_json() for entry in left.values()]


def add(document: Document, added: Sequence[NodeEntry]) -> list[NodeEntry]:
    """Into the document; what was said anew of one that is there counts. Those that were not there."""
    before, _ = nodes_in(document.get(NODES))
    known = {entry.url: entry for entry in before}
    for entry in added:
        known[entry.url] = _over(known[entry.url], entry) if entry.url in known else entry
    document[NODES] = merged(document.get(NODES), list(known.values()))
    return [entry for entry in {each.url: each for each in added}.values() if entry.url not in {each.url for each in before}]


def remove(document: Document, urls: Sequence[str]) -> list[str]:
    """Out of the document; those that were there."""
    before, _ = nodes_in(document.get(NODES))
    gone = [entry.url for entry in before if entry.url in urls]
    if gone:
        document[NODES] = merged(document.get(NODES), [entry for entry in before if entry.url not in gone])
    return gone


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _over(old: NodeEntry, new: NodeEntry) -> NodeEntry:
    said = {key: value for key, value in dataclasses.asdict(new).items() if value}
    return dataclasses.replace(old, **said)


def _updated(written: Json, entry: NodeEntry) -> Json:
    """The entry as it is written, where it already says so."""
    if NodeEntry.of(written) == entry:
        return written
    said = entry.as_json()
    assert isinstance(said, dict)
    return {**written, **said} if isinstance(written, dict) else said
