"""
The models that can be named here: the shipped one, those in the user's folders and in Ollama's stores, what servers offer,
and any file by its path.

Looking for names never opens a file; finding a model reads its header and blocks on the disk. No server is asked.
"""

from __future__ import annotations

import dataclasses
import difflib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from synaptic.dllama.header import DllamaHeader
from synaptic.errors import EngineError, UsageError
from synaptic.models.describe import of_file, of_offers
from synaptic.models.dllama_file import is_dllama, read_dllama
from synaptic.models.entries import DEMO as DEMO
from synaptic.models.entries import FILE, Entry, called, entries, is_file, is_plainly_path, is_same, path_in, stat_of
from synaptic.models.gguf_header import Header
from synaptic.models.gguf_source import refusal
from synaptic.models.model import Model, Offer, file_of
from synaptic.models.ollama_name import OllamaName
from synaptic.models.ollama_parts import linked
from synaptic.models.ollama_store import Blob, resolve
from synaptic.models.split import read_whole
from synaptic.terminal import one_line

RECENT = 2.0  # seconds for which completion trusts the last walk through the folders


@dataclasses.dataclass(frozen=True)
class Survey:
    models: tuple[Model, ...]
    unreadable: tuple[str, ...]  # a sentence for each file that should be a model


class Catalog:
    """`links`: a folder for links to the parts of split models, whose files have no names in Ollama's store."""

    def __init__(
        self,
        folders: Callable[[], Sequence[Path]],
        demo: Path | None,
        clock: Callable[[], float] = time.monotonic,
        *,
        stores: Callable[[], Sequence[Path]] = tuple,
        offers: Callable[[], Sequence[Offer]] = tuple,
        links: Path | None = None,
    ) -> None:
        self._folders, self._stores, self._offers = folders, stores, offers
        self._demo = demo
        self._clock = clock
        self._links = links
        self._walked: tuple[float, object, list[Entry]] | None = None
        self._headers: dict[Path, tuple[tuple[int, int], Header]] = {}

    def names(self) -> list[tuple[str, str]]:
        """Every name, and where it comes from. Opens no file."""
        return [(entry.name, entry.where) for entry in self._recent()]

    def knows(self, name: str) -> bool:
        """Whether `find` has something to look at. Opens no file."""
        path = path_in(name)
        return (path is not None and is_file(path)) or called(name, self._recent()) is not None

    def find(self, name: str) -> Model:
        """The model of this name or path. EngineError says why there is none."""
        return self._model(self._entry(name))

    def header(self, model: Model) -> Header:
        """All that the model's files say of it. EngineError: it has none here, or none of llama.cpp's."""
        return self._header(file_of(model))

    def dllama_header(self, model: Model) -> DllamaHeader | None:
        """The same for a distributed-llama model; None: it is none."""
        path = model.path
        return read_dllama(path) if path and is_dllama(path) else None

    def blob(self, name: str) -> Blob | None:
        """What Ollama's store has beside the model's file; None: the model is not from there. EngineError."""
        entry = self._entry(name)
        return resolve(entry.stored.name, [entry.stored.store]) if entry.stored else None

    def models(self) -> list[Model]:
        return list(self.survey().models)

    def survey(self) -> Survey:
        """Every model that can be read, and a sentence for each that cannot."""
        models: list[Model] = []
        unreadable: list[str] = []
        for entry in self._walk():
            try:
                if (model := self._described(entry)) is not None:
                    models.append(model)
            except EngineError as error:
                unreadable.append(str(error))
        return Survey(tuple(models), tuple(unreadable))

    def _entry(self, name: str) -> Entry:
        among = self._walk()
        if named := called(name, among):
            return named
        path = path_in(name)
        if path is None:
            raise self._unknown(name, among)
        if stat_of(path) is None and (named := called(name.removesuffix(".gguf"), among)):
            return named
        if stat_of(path) is None and not is_plainly_path(name):
            raise self._unknown(name, among)
        twins = (entry for entry in among if entry.path and entry.path.name == path.name and is_same(entry.path, path))
        return next(twins, Entry(str(path), FILE, path))

    def _model(self, entry: Entry) -> Model:
        try:
            model = self._described(entry)
        except EngineError:
            if not entry.offers:
                raise
            return of_offers(entry)  # the file here is of no use, but servers have the model
        if model is None:
            path = self._path(entry)
            assert path
            raise refusal(path, _not_a_model(self._header(path)) or "is no model")
        return model

    def _described(self, entry: Entry) -> Model | None:
        """None: the file is sound, but holds no language model."""
        path = self._path(entry)
        if path is None:
            return of_offers(entry)
        found = stat_of(path)
        modified = found.st_mtime if found else 0.0
        if is_dllama(path):
            return of_file(entry, path, read_dllama(path), modified=modified)
        header = self._header(path)
        return None if _not_a_model(header) else of_file(entry, path, header, modified=modified)

    def _path(self, entry: Entry) -> Path | None:
        if entry.stored is None:
            return entry.path
        blob = resolve(entry.stored.name, [entry.stored.store])
        if len(blob.parts) == 1:
            return blob.path
        if self._links is None:
            raise EngineError(f"{entry.name} has {len(blob.parts)} files, and there is no folder to link them in", hint="export HOME")
        return linked(blob.parts, self._links)

    def _header(self, path: Path) -> Header:
        found = stat_of(path)
        version = (found.st_mtime_ns, found.st_size) if found else None
        known = self._headers.get(path)
        if known and known[0] == version:
            return known[1]
        header = read_whole(path)
        if version:
            self._headers[path] = (version, header)
        return header

    def _recent(self) -> list[Entry]:
        if self._walked and self._clock() - self._walked[0] < RECENT and self._walked[1] == self._places():
            return self._walked[2]
        return self._walk()

    def _walk(self) -> list[Entry]:
        folders, stores, offers = self._places()
        found = entries(self._demo, folders, stores, offers)
        self._walked = (self._clock(), (folders, stores, offers), found)
        return found

    def _places(self) -> tuple[tuple[Path, ...], tuple[Path, ...], tuple[Offer, ...]]:
        return tuple(self._folders()), tuple(self._stores()), tuple(self._offers())

    def _unknown(self, name: str, among: Sequence[Entry]) -> EngineError:
        close = difflib.get_close_matches(name.casefold(), [entry.name.casefold() for entry in among], n=1)
        found = called(close[0], among) if close else None
        if found:
            hint = f"did you mean: {found.name}"
        else:
            hint = f"try: model list, or: model pull {name}" if self._stores() and _is_of_ollama(name) else "try: model list"
        return EngineError(f'no model named "{one_line(name, 60)}" here', hint=hint)


def _is_of_ollama(name: str) -> bool:
    try:
        OllamaName.parse(name)
    except UsageError:
        return False
    return True


def _not_a_model(header: Header) -> str | None:
    if header.kind != "model" or header.architecture in ("", "clip"):  # clip: eyes for another model
        return f"is no language model but {header.kind if header.kind != 'model' else header.architecture or 'something else'}"
    return None if header.parameters else "holds no weights"
