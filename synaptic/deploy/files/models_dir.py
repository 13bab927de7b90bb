"""
The models directory: what is in it, with sums, and the unit that mounts it where it is on another machine.

    manifest.json    in the directory itself, or below services.models.files in a profile: name, bytes, sha256, source
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import string
from collections.abc import Callable, Iterable
from pathlib import Path

from synaptic.deploy.files import escape
from synaptic.deploy.files.unit import fill, template
from synaptic.deploy.profile.profile import ModelFile, Profile
from synaptic.errors import SynapticError, UsageError, os_reason
from synaptic.files import write_whole
from synaptic.terminal import one_line

MANIFEST = "manifest.json"
LIMIT = 1 << 22  # bytes of it that are read
CHUNK = 1 << 22
_SUFFIXES = (".gguf", ".m", ".t", ".safetensors", ".bin", ".json", ".model", ".txt")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PLAIN = {ord("/"): "-"} | {ord(sign): sign for sign in string.ascii_letters + string.digits + ":_."}
Hash = Callable[[Path], str]


@dataclasses.dataclass(frozen=True)
class Verified:
    """`why` None: it is what the manifest says."""

    name: str
    bytes: int
    why: str | None


def scanned(folder: Path, source: str | None, hash_: Hash, known: Iterable[ModelFile] = ()) -> list[ModelFile]:
    """Every model file below `folder`, hashed: hours for terabytes. Where a `known` one is the same, its source stays."""
    sources = {(each.name, each.sha256): each.source for each in known}
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in _SUFFIXES and path.name != MANIFEST)
    found = [(path, path.relative_to(folder).as_posix(), hash_(path)) for path in paths]
    return [ModelFile(name, path.stat().st_size, sum_, source or sources.get((name, sum_))) for path, name, sum_ in found]


def verify(folder: Path, files: Iterable[ModelFile], hash_: Hash, *, quick: bool = False) -> list[Verified]:
    """`quick`: sizes alone."""
    return [Verified(each.name, each.bytes, _wrong(folder / each.name, each, hash_, quick)) for each in files]


def read_manifest(folder: Path) -> list[ModelFile]:
    """Empty: there is none. Raises UsageError: it is broken."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            return [_file(each) for each in json.loads(file.read(LIMIT))["models"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{folder / MANIFEST} is no manifest", hint=f"deploy models {folder} --write, after you moved it away") from error


def write_manifest(folder: Path, files: Iterable[ModelFile]) -> Path:
    """Raises SynapticError."""
    path = folder / MANIFEST
    write_whole(path, json.dumps({"models": [dataclasses.asdict(each) for each in files]}, indent=1) + "\n")
    try:
        path.chmod(0o644)
    except OSError as error:
        raise SynapticError(f"cannot write {path}: {os_reason(error)}") from error
    return path


def listed(profile: Profile) -> str:
    """For llama-verify-models: sum, bytes and path, a tab between."""
    own = profile.services
    return "".join(f"{each.sha256}\t{each.bytes}\t{own.models_dir.rstrip('/')}/{each.name}\n" for each in own.models_files)


def mount(profile: Profile) -> tuple[str, str] | None:
    """The name and text of the unit that mounts the directory; None: nobody asked for one. Units find it by its path."""
    own = profile.services
    if not own.models_export:
        return None
    values = {"label": escape.comment(profile.label), "what": escape.line(own.models_export), "where": escape.line(own.models_dir)}
    return f"{unit_name(own.models_dir)}.mount", fill(template("models.mount"), values)


def unit_name(path: str) -> str:
    """As `systemd-escape --path` says it: a slash is written -, and what is neither a letter nor one of :_. by its number."""
    words = "/".join(word for word in path.split("/") if word)
    plain = "".join(_PLAIN.get(byte) or f"\\x{byte:02x}" for byte in os.fsencode(words))
    return (f"\\x2e{plain[1:]}" if plain.startswith(".") else plain) or "-"


def _file(values: dict[str, object]) -> ModelFile:
    name, size, sum_, source = str(values["name"]), values["bytes"], str(values["sha256"]), values.get("source")
    if not isinstance(size, int) or not _SHA256.match(sum_) or name.startswith("/") or ".." in Path(name).parts:
        raise ValueError(one_line(name, 80))
    return ModelFile(name, size, sum_, None if source is None else one_line(str(source), 300))


def _wrong(path: Path, wanted: ModelFile, hash_: Hash, quick: bool) -> str | None:
    try:
        size = path.stat().st_size
        if size != wanted.bytes:
            return f"has {size} bytes, and {wanted.bytes} are in the manifest"
        return None if quick or hash_(path) == wanted.sha256 else "has another sum than the manifest says"
    except OSError as error:
        return os_reason(error)
