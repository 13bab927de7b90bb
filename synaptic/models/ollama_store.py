"""
Ollama's models as they lie on this machine, used in place; nothing is copied and nothing outside a store is opened.

    <store>/manifests/registry.ollama.ai/library/llama3.1/70b      what the model consists of
    <store>/blobs/sha256-<64 hex>                                  the GGUF file itself, its template, its projector …

Ollama joins a split GGUF when a model is made; a model of several files is from an older one, or made by hand.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from synaptic.errors import EngineError, os_reason
from synaptic.models.ollama_manifest import BrokenManifestError, Layer, read_manifest
from synaptic.models.ollama_name import OllamaName
from synaptic.models.ollama_parts import in_order
from synaptic.terminal import one_line

SYSTEM = (Path("/usr/share/ollama/.ollama/models"), Path("/var/lib/ollama/models"), Path("/var/lib/ollama"))
MOST_LISTED = 2000
MOST_LOOKED_AT = 20_000  # entries of folders, in one listing


@dataclasses.dataclass(frozen=True)
class Blob:
    """`path` is the model's first file; `parts` are all of them. Projectors and adapters are files beside it."""

    name: OllamaName
    path: Path
    parts: tuple[Path, ...]
    projectors: tuple[Path, ...]
    adapters: tuple[Path, ...]
    store: Path

    @property
    def digest(self) -> str:
        return self.path.name.replace("-", ":", 1)


@dataclasses.dataclass(frozen=True)
class Stored:
    name: OllamaName
    store: Path


def stores(variables: Mapping[str, str], home: Path | None, system: Sequence[Path] = SYSTEM) -> list[Path]:
    """The stores that are there, the one that Ollama itself would use first. Never raises."""
    named = variables.get("OLLAMA_MODELS", "").strip().strip("\"'")
    places = [Path(named)] if named else []
    places += [home / ".ollama" / "models"] if home else []
    return [place for place in dict.fromkeys([*places, *system]) if place.is_absolute() and _is_store(place)]


def listed(folders: Sequence[Path]) -> list[Stored]:
    """Every model that has a manifest, once; the first store wins. Opens no manifest."""
    found: dict[str, Stored] = {}
    for store in folders:
        for name in itertools.islice(_names(store), MOST_LISTED):
            found.setdefault(name.canonical, Stored(name, store))
    return list(found.values())


def resolve(name: OllamaName, folders: Sequence[Path]) -> Blob:
    """Where the model's files are. Blocks on the disk. EngineError: each way to fail has its own sentence and next step."""
    for store in folders:
        manifest = _manifest(name, store)
        if manifest is not None:
            return _blob(name, store, manifest)
    if closed := next((store for store in folders if not _may_look(store)), None):
        raise unreadable(f"{name.short} may be in {closed}, which this user may not read", closed)
    searched = ", ".join(map(str, folders)) or "there is no Ollama store on this machine"
    raise EngineError(f"{name.short} is not pulled: {searched}", hint=f"try: model pull {name.short}")


def unreadable(sentence: str, store: Path) -> EngineError:
    user = _user()
    return EngineError(sentence, hint=f"try: sudo usermod -aG ollama {user}, then log in again; or: sudo setfacl -R -m u:{user}:rX {store}")


def _blob(name: OllamaName, store: Path, manifest: Path) -> Blob:
    layers = _layers(name, store, manifest)
    models = _files(name, store, [layer for layer in layers if layer.kind == "model"])
    if not models:
        raise EngineError(f"{name.short} has no weights in {store}: it is answered elsewhere", hint=f"try: ollama run {name.short}")
    parts = in_order(name, models)
    beside = {kind: _files(name, store, [layer for layer in layers if layer.kind == kind]) for kind in ("projector", "adapter")}
    return Blob(name, parts[0], parts, beside["projector"], beside["adapter"], store)


def _layers(name: OllamaName, store: Path, manifest: Path) -> tuple[Layer, ...]:
    again = f"try: model pull {name.short}"
    try:
        return read_manifest(_inside(store, manifest, f"the manifest of {name.short}"))
    except BrokenManifestError as error:
        raise EngineError(f"the manifest of {name.short} ({manifest}) {error}", hint=again) from error
    except PermissionError as error:
        raise unreadable(f"the manifest of {name.short} ({manifest}) may not be read by this user", store) from error
    except OSError as error:
        cause = os_reason(error)
        raise EngineError(f"the manifest of {name.short} ({manifest}) cannot be read: {cause}", hint=again) from error


def _files(name: OllamaName, store: Path, layers: Sequence[Layer]) -> tuple[Path, ...]:
    return tuple(_file(name, store, layer) for layer in layers)


def _file(name: OllamaName, store: Path, layer: Layer) -> Path:
    """The layer's blob, checked as far as one look can."""
    path, again = store / "blobs" / layer.file, f"try: model pull {name.short}"
    what = f"the {layer.kind} of {name.short} ({path})"
    path = _inside(store, path, what)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise EngineError(f"{name.short} has a manifest, but {what} is gone", hint=again) from error
    except PermissionError as error:
        raise unreadable(f"{what} may not be read by this user", store) from error
    except OSError as error:
        raise EngineError(f"{what} cannot be opened: {os_reason(error)}", hint=again) from error
    try:
        size, magic = os.fstat(descriptor).st_size, os.read(descriptor, 4)
    except OSError as error:  # a folder
        raise EngineError(f"{what} cannot be read: {os_reason(error)}", hint=again) from error
    finally:
        os.close(descriptor)
    if size == 0:
        raise EngineError(f"{what} is empty: was the disk full?", hint=again)
    if magic != b"GGUF":
        raise EngineError(f"{what} is not a GGUF file", hint=f"try: ollama show {name.short}")
    return path


def _inside(store: Path, path: Path, what: str) -> Path:
    """A link may lead elsewhere in the store (which itself may be a link), never out of it."""
    try:
        root, real = store.resolve(), path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
        raise EngineError(f"{what} cannot be read: its links lead nowhere", hint="try: ollama list") from error
    if not real.is_relative_to(root):
        raise EngineError(f"{what} is a link that leads out of the store", hint="give the file itself: model use /path/to/file.gguf")
    return path


def _manifest(name: OllamaName, store: Path) -> Path | None:
    """As it is written, else in another case."""
    exact = store / "manifests" / name.manifest
    if _is_there(exact):
        return exact
    same = (other for other in itertools.islice(_names(store), MOST_LISTED) if other.canonical == name.canonical)
    other = next(same, None)
    return store / "manifests" / other.manifest if other else None


def _names(store: Path) -> Iterator[OllamaName]:
    """Host, namespace, model, tag: four levels, looked at in order and no further than a bound."""
    left = MOST_LOOKED_AT
    level: list[tuple[str, ...]] = [()]
    for _ in range(4):
        below: list[tuple[str, ...]] = []
        for parts in level:
            entries = _entries(store.joinpath("manifests", *parts), left)
            left -= len(entries)
            below += [(*parts, entry) for entry in entries]
        level = below
    yield from (name for parts in level if (name := OllamaName.of_path(parts)))


def _entries(folder: Path, most: int) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in itertools.islice(entries, most) if one_line(entry.name) == entry.name)
    except OSError:  # a file among the folders, or a folder of somebody else
        return []


def _is_store(place: Path) -> bool:
    """Also one that may not be looked into: then that is what is to be said."""
    try:
        return (place / "manifests").is_dir()
    except OSError:
        return True


def _may_look(store: Path) -> bool:
    try:
        os.scandir(store / "manifests").close()
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user without an entry, as in a container
        return str(os.geteuid())


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
