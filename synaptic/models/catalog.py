"""
The models that can be named here: the shipped one, those in the user's folders, and any file by its path.

Looking for names never opens a file; finding a model reads its header and blocks on the disk.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from synaptic.errors import EngineError
from synaptic.models.folders import gguf_files
from synaptic.models.gguf_header import Header
from synaptic.models.gguf_source import refusal
from synaptic.models.model import Model, file_of
from synaptic.models.split import name_of, read_whole
from synaptic.terminal import one_line

DEMO = "demo"
RECENT = 2.0  # seconds for which completion trusts the last walk through the folders
GGUF_ENGINES = ("llama.cpp",)


@dataclasses.dataclass(frozen=True)
class Survey:
    models: tuple[Model, ...]
    unreadable: tuple[str, ...]  # a sentence for each file that should be a model


@dataclasses.dataclass(frozen=True)
class _Entry:
    name: str
    source: str
    path: Path


class Catalog:
    def __init__(self, folders: Callable[[], Sequence[Path]], demo: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._folders = folders
        self._demo = demo
        self._clock = clock
        self._walked: tuple[float, tuple[Path, ...], list[_Entry]] | None = None
        self._headers: dict[Path, tuple[tuple[int, int], Header]] = {}

    def names(self) -> list[tuple[str, str]]:
        """Every name, and where it comes from. Opens no file."""
        return [(entry.name, entry.source if entry.source == "shipped" else str(entry.path.parent)) for entry in self._recent()]

    def knows(self, name: str) -> bool:
        """Whether `find` has something to look at. Opens no file."""
        path = _path(name)
        found = _stat(path) if path else None
        return (found is not None and stat.S_ISREG(found.st_mode)) or _called(name, self._recent()) is not None

    def find(self, name: str) -> Model:
        """The model of this name or path. EngineError says why there is none."""
        return self._model(self._entry(name))

    def header(self, model: Model) -> Header:
        """All that the model's files say of it. EngineError: it has none here."""
        return self._header(file_of(model))

    def models(self) -> list[Model]:
        return list(self.survey().models)

    def survey(self) -> Survey:
        """Every model that can be read, and a sentence for each that cannot."""
        models: list[Model] = []
        unreadable: list[str] = []
        for entry in self._walk():
            try:
                if _not_a_model(self._header(entry.path)) is None:
                    models.append(self._model(entry))
            except EngineError as error:
                unreadable.append(str(error))
        return Survey(tuple(models), tuple(unreadable))

    def _entry(self, name: str) -> _Entry:
        entries = self._walk()
        if named := _called(name, entries):
            return named
        path = _path(name)
        if path is None:
            raise _unknown(name, entries)
        if _stat(path) is None and (named := _called(name.removesuffix(".gguf"), entries)):
            return named
        twins = (entry for entry in entries if entry.path.name == path.name and _is_same(entry.path, path))
        return next(twins, _Entry(str(path), "file", path))

    def _model(self, entry: _Entry) -> Model:
        header = self._header(entry.path)
        if reason := _not_a_model(header):
            raise refusal(entry.path, reason)
        found = _stat(entry.path)
        return Model(
            name=entry.name,
            source=entry.source,
            path=entry.path,
            architecture=header.architecture,
            parameters=header.parameters,
            active_parameters=header.active_parameters,
            layers=header.layers,
            context=header.context,
            quantization=header.quantization,
            bytes=header.file_bytes,
            engines=GGUF_ENGINES,
            temperature=0.0 if entry.source == "shipped" else None,
            modified=found.st_mtime if found else 0.0,
        )

    def _header(self, path: Path) -> Header:
        found = _stat(path)
        version = (found.st_mtime_ns, found.st_size) if found else None
        known = self._headers.get(path)
        if known and known[0] == version:
            return known[1]
        header = read_whole(path)
        if version:
            self._headers[path] = (version, header)
        return header

    def _recent(self) -> list[_Entry]:
        if self._walked and self._clock() - self._walked[0] < RECENT and self._walked[1] == tuple(self._folders()):
            return self._walked[2]
        return self._walk()

    def _walk(self) -> list[_Entry]:
        folders = tuple(self._folders())
        entries = list(_entries(self._demo, folders))
        self._walked = (self._clock(), folders, entries)
        return entries


def _entries(demo: Path | None, folders: Sequence[Path]) -> Iterator[_Entry]:
    """Each name once: a file whose name is taken goes by its path."""
    taken: set[str] = set()
    if demo is not None and _stat(demo) is not None:
        taken.add(DEMO)
        yield _Entry(DEMO, "shipped", demo)
    for path in gguf_files(folders):
        name = name_of(path)
        if name is None:
            continue
        name = str(path) if name.casefold() in taken else name
        taken.add(name.casefold())
        yield _Entry(name, "folder", path)


def _called(name: str, entries: Sequence[_Entry]) -> _Entry | None:
    exact = next((entry for entry in entries if entry.name == name), None)
    return exact or next((entry for entry in entries if entry.name.casefold() == name.casefold()), None)


def _path(name: str) -> Path | None:
    """A name that is meant as a path, made absolute; links stay links."""
    if os.sep not in name and not name.lower().endswith(".gguf"):
        return None
    return Path(os.path.abspath(os.path.expanduser(name)))  # noqa: PTH100, PTH111 - Path.expanduser raises for an unknown ~user


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # not there, out of reach, or no name a file can have
        return None


def _is_same(one: Path, other: Path) -> bool:
    first, second = _stat(one), _stat(other)
    return first is not None and second is not None and os.path.samestat(first, second)


def _not_a_model(header: Header) -> str | None:
    if header.kind != "model" or header.architecture in ("", "clip"):  # clip: eyes for another model
        return f"is no language model but {header.kind if header.kind != 'model' else header.architecture or 'something else'}"
    return None if header.parameters else "holds no weights"


def _unknown(name: str, entries: Sequence[_Entry]) -> EngineError:
    close = difflib.get_close_matches(name.casefold(), [entry.name.casefold() for entry in entries], n=1)
    found = _called(close[0], entries) if close else None
    return EngineError(f'no model named "{one_line(name, 60)}" here', hint=f"did you mean: {found.name}" if found else "try: model list")
