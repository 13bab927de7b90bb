"""
Settings: typed values, each with the layer it came from.

    flag > environment > file > default; rpc_backends alone is the union of the first three

Flags and environment are never written to the file. What this program saves, or forgets, counts from then on over
the flag it was started with.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from synaptic.endpoint import Endpoint, parse_list
from synaptic.results import to_json
from synaptic.settings.file import SettingsFile
from synaptic.settings.keys import (
    BACKENDS,
    KINDS,
    OLD_SWITCH,
    SWITCH,
    backend,
    endpoints,
    entries,
    kind_of,
    put,
    read,
    shown,
    typed,
    with_backends,
)
from synaptic.settings.origins import Origin, noted, origins
from synaptic.settings.text import Document
from synaptic.settings.values import Entry, Layer, Values

VARIABLE = "LLAMA_RPC_BACKENDS"


class Settings:
    """`warnings` are sentences for the user, to be said once; a save that meets a broken file adds one."""

    def __init__(self, path: Path | None, flags: Mapping[str, object], environment: Mapping[str, object]) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._flags = dict(flags)
        self._environment = dict(environment)
        self._file: SettingsFile | None = None  # None: these settings live in memory only
        self._turn = threading.Lock()
        self._adopt({})

    @classmethod
    def load(cls, path: Path | None, variables: Mapping[str, str], flags: Mapping[str, object] | None = None) -> Settings:
        """Never fails for what is in the file or the environment: `warnings` tell. UsageError for a flag that cannot be."""
        good, bad = parse_list(variables.get(VARIABLE, ""))
        chosen = {key: typed(key, value) for key, value in (flags or {}).items() if value is not None}
        settings = cls(path, chosen, {BACKENDS: tuple(good)} if good else {})
        settings._open()
        settings.warnings += [f"{VARIABLE}: {sentence}; ignored" for sentence in bad]
        return settings

    @property
    def now(self) -> Values:
        return self._now

    @property
    def is_saved(self) -> bool:
        """False where there is no place to write: changes last as long as this program."""
        return self._file is not None

    @property
    def backup(self) -> Path | None:
        """Where the version before the last save is."""
        return self._file.backup if self._file else None

    def layer(self, key: str) -> Layer:
        kind_of(key)
        return next((layer for layer, values in self._layers() if key in values), Layer.DEFAULT)

    def rows(self) -> list[Entry]:
        return [Entry(key, to_json(getattr(self._now, key)), self.layer(key), self._note(key)) for key in KINDS]

    def parse(self, key: str, text: str) -> object:
        """Text typed for `key` → its value; None for `none` and `default`. UsageError says what would fit."""
        return read(key, text)

    def save(self, **changes: object) -> None:
        """Merge into the file; None forgets a key. SynapticError: nothing was saved."""
        values = {key: None if value is None else typed(key, value) for key, value in changes.items()}

        def edit(document: Document) -> None:
            for key, value in values.items():
                put(document, key, value)

        self._change(edit, drop=values)

    def for_now(self, **changes: object) -> None:
        """Let these count for this run, as flags do; nothing is saved."""
        with self._turn:
            self._flags |= {key: typed(key, value) for key, value in changes.items()}
            self._adopt(self._document)

    def reset(self, *keys: str) -> None:
        """Forget these keys, or all known ones; unknown keys of the file and its backup stay."""
        for key in keys:
            kind_of(key)
        self.save(**dict.fromkeys(keys or KINDS))

    def origins(self) -> dict[Endpoint, Origin]:
        """What the file tells beside its workers."""
        return origins(self._document.get(BACKENDS))

    def sources(self) -> dict[Endpoint, str]:
        """Of every worker: `configured` where somebody named it, else how it was found."""
        found = self.origins()
        return {each: self._source(each, found.get(each)) for each in self._now.rpc_backends}

    def add_backends(self, added: Sequence[Endpoint], told: Mapping[Endpoint, Origin] | None = None) -> list[Endpoint]:
        """Write these to the file, the new ones with what is `told` of them; those that were not there yet."""
        new: list[Endpoint] = []

        def edit(document: Document) -> None:
            known, _ = _backends(document)
            new.extend(each for each in dict.fromkeys(added) if each not in known)
            if new:
                written = with_backends(document.get(BACKENDS), [*known, *new])
                document[BACKENDS] = noted(written, {each: origin for each, origin in (told or {}).items() if each in new})

        self._change(edit)
        return new

    def note_origins(self, told: Mapping[Endpoint, Origin]) -> None:
        """Write this beside those of the file that it is about."""
        if any(self.origins().get(each, origin) != origin for each, origin in told.items()):
            self._change(lambda document: document.update({BACKENDS: noted(document.get(BACKENDS), told)}))

    def remove_backends(self, removed: Sequence[Endpoint]) -> list[Endpoint]:
        """Forget these, in the file and for this program; those that were there."""
        there = set(self._now.rpc_backends)

        def edit(document: Document) -> None:
            known, _ = _backends(document)
            there.update(known)
            if not known.keys().isdisjoint(removed):
                document[BACKENDS] = with_backends(document.get(BACKENDS), [each for each in known if each not in removed])

        self._change(edit, forget=removed)
        return [each for each in dict.fromkeys(removed) if each in there]

    def edit(self, edit: Callable[[Document], None]) -> None:
        """Merge what `edit` does to the document into the file. SynapticError: nothing was saved."""
        self._change(edit)

    def _open(self) -> None:
        if self.path is None:
            self.warnings.append("there is no home folder to keep settings in: changes last until you leave")
            return
        file = SettingsFile(self.path)
        loaded = file.load()
        self.warnings += [loaded.warning] if loaded.warning else []
        if file.can_be_written:
            self._file = file
        else:
            self.warnings.append(f"{self.path} cannot be written: changes last until you leave")
        self.warnings += [f"{self.path}: {sentence}" for sentence in self._adopt(loaded.document)]

    def _change(self, edit: Callable[[Document], None], drop: Mapping[str, object] | None = None, forget: Sequence[Endpoint] = ()) -> None:
        """Edit the document, in the file if there is one; then drop the flags, and forget the endpoints, that stood over it."""
        with self._turn:
            document = copy.deepcopy(self._document)
            if self._file is None:
                edit(document)
            else:
                loaded = self._file.change(edit, otherwise=document)
                document = loaded.document
                self.warnings += [loaded.warning] if loaded.warning else []
            self._flags = {key: value for key, value in self._flags.items() if key not in (drop or {})}
            self._flags, self._environment = _without(forget, self._flags), _without(forget, self._environment)
            self._adopt(document)

    def _adopt(self, document: Document) -> list[str]:
        """Take the document of the file as it is now; a sentence for each value in it that cannot be."""
        self._document = document
        self._from_file, self._troubles, sentences = _typed_document(document)
        merged = {key: value for _, values in reversed(self._layers()) for key, value in values.items()}
        everywhere = [endpoints(values[BACKENDS]) for _, values in self._layers() if BACKENDS in values]
        merged[BACKENDS] = tuple(dict.fromkeys(each for some in everywhere for each in some))
        self._now = Values(**merged)  # type: ignore[arg-type]  # KINDS made each value what its field declares
        return sentences

    def _layers(self) -> list[tuple[Layer, dict[str, object]]]:
        return [(Layer.FLAG, self._flags), (Layer.ENVIRONMENT, self._environment), (Layer.FILE, self._from_file)]

    def _source(self, backend: Endpoint, origin: Origin | None) -> str:
        by_flag, by_environment = (backend in endpoints(values.get(BACKENDS, ())) for values in (self._flags, self._environment))
        if by_flag or (origin and not origin.source):
            return "configured"
        return origin.source if origin and not (by_environment and origin.source == "scan") else "environment"

    def _note(self, key: str) -> str:
        if trouble := self._troubles.get(key):
            return trouble
        said = [(layer.value, values[key]) for layer, values in self._layers() if key in values]
        if len(said) < 2:
            return ""
        if key == BACKENDS:
            return ", ".join(f"{len(endpoints(value))} from {layer}" for layer, value in said)
        return ", ".join(f"{layer}: {shown(to_json(value))}" for layer, value in said[1:])


def _typed_document(document: Document) -> tuple[dict[str, object], dict[str, str], list[str]]:
    """The values of a file; what is wrong with a key; and a sentence for each thing that is wrong."""
    values: dict[str, object] = {}
    troubles: dict[str, str] = {}
    for key, kind in KINDS.items():
        if key == BACKENDS or document.get(key) is None:
            continue
        try:
            values[key] = kind.accept(document[key])
        except ValueError:
            troubles[key] = f"{key} is {kind.expected}, not {shown(document[key])}; the default is used"
    if SWITCH not in document and document.get(OLD_SWITCH) is True:
        values[SWITCH] = True
    known, bad = _backends(document)
    if known:
        values[BACKENDS] = tuple(known)
    if bad:
        troubles[BACKENDS] = "; ".join(bad)
    return values, troubles, [*(troubles[key] for key in troubles if key != BACKENDS), *bad]


def _backends(document: Document) -> tuple[dict[Endpoint, None], list[str]]:
    """The endpoints of a file, each once, and a sentence for each entry that is none."""
    good: dict[Endpoint, None] = {}
    bad: list[str] = []
    for entry in entries(document.get(BACKENDS)):
        try:
            good[backend(entry)] = None
        except ValueError as error:
            bad.append(f"{BACKENDS}: {error}; skipped")
    return good, bad


def _without(forgotten: Sequence[Endpoint], values: dict[str, object]) -> dict[str, object]:
    left = tuple(each for each in endpoints(values.get(BACKENDS, ())) if each not in forgotten)
    others = {key: value for key, value in values.items() if key != BACKENDS}
    return {**others, BACKENDS: left} if left else others
