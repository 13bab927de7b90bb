"""YAML → a document of plain values, and the line of each of them. Nothing in it is run, and nothing is expanded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic.errors import UsageError, os_reason
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from yaml import Node

LIMIT = 1 << 18  # bytes
DEPTH = 30
Place = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Document:
    """`lines`: by the path of a value, counted from 1."""

    path: Path
    text: str
    values: dict[str, object]
    lines: dict[Place, int]

    @property
    def canonical(self) -> str:
        """As JSON, without what does not count: comments, and the order of keys."""
        return json.dumps(self.values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.canonical.encode()).hexdigest()

    def wrong(self, place: Place, why: str) -> UsageError:
        """The field and its line, or that of the nearest one around it which is there."""
        known = place
        while known and known not in self.lines:
            known = known[:-1]
        field = one_line(".".join(map(str, place)) or "the profile", 120)
        return UsageError(
            f"{self.path}, line {self.lines.get(known, 1)}: {field}: {why}", hint="try: profile validate FILE, after a change"
        )


def read_document(path: Path) -> Document:
    """Raises UsageError: not there, too large, not YAML, an alias, a key twice."""
    try:
        with path.open("rb") as file:
            raw = file.read(LIMIT + 1)
    except (OSError, ValueError) as error:
        why = os_reason(error) if isinstance(error, OSError) else error
        raise UsageError(f"cannot read {one_line(str(path), 200)}: {why}", hint="try: profile list") from error
    if len(raw) > LIMIT:
        raise UsageError(f"{path} is larger than any profile", hint=f"at most {LIMIT >> 10} KiB")
    try:
        return document_of(path, raw.decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", hint="a profile is YAML") from error


def document_of(path: Path, text: str) -> Document:
    """Raises UsageError."""
    import yaml

    lines: dict[Place, int] = {}
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
                raise UsageError(f"{path}, line {token.start_mark.line + 1}: anchors and aliases are not read", hint="write it out")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = _plain(path, root, (), lines) if root else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{where}: {getattr(error, 'problem', None) or 'not YAML'}", hint="a profile is YAML") from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deep", hint="a profile is YAML") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not a profile", hint="try: profile show lab-local, which is one")
    return Document(path, text, values, lines)


def _plain(path: Path, node: Node, place: Place, lines: dict[Place, int]) -> object:
    import yaml

    lines[place] = node.start_mark.line + 1
    if len(place) > DEPTH:
        raise UsageError(f"{path}, line {lines[place]}: nested too deep", hint="a profile is YAML")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, item, (*place, number), lines) for number, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, object] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in found:
                raise UsageError(f"{path}, line {key.start_mark.line + 1}: {one_line(name, 60)} is there twice", hint="keep one of them")
            found[name] = _plain(path, value, (*place, name), lines)
        return found
    return _scalar(path, node)


def _scalar(path: Path, node: Node) -> object:
    """A date stays the text that it is; only what JSON has comes out."""
    import yaml

    kind = node.tag.rpartition(":")[2]
    if kind in ("str", "timestamp"):
        return str(node.value)
    if kind not in ("int", "float", "bool", "null"):
        raise UsageError(
            f"{path}, line {node.start_mark.line + 1}: {one_line(node.tag, 60)} is not read here", hint="text, numbers, true, null"
        )
    value = yaml.SafeLoader("").construct_object(node)
    if isinstance(value, float) and not abs(value) < 1e300:
        raise UsageError(f"{path}, line {node.start_mark.line + 1}: {one_line(str(node.value), 60)} is no number", hint="null: not known")
    return value
