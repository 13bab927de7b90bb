"""
The settings file on disk: one JSON object that several programs change at once, any of them killed at any moment.

    NAME                      the settings
    NAME.lock                 held while someone saves; it stays
    NAME.saving               the next version while it is written; what a killed save left goes with the next one
    NAME.bak                  the version before the last save
    NAME.corrupt-DATE-TIME    what stood there and was no settings file, moved aside
    NAME.bak-DATE-TIME        the backup of that moment, kept from the saves that follow

They all lie beside the file itself, where links lead to. Reading writes nothing; only a broken file is moved.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import errno
import fcntl
import os
import shlex
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from synaptic.errors import SynapticError, os_reason
from synaptic.settings.text import LIMIT, BrokenFileError, Document, dump, parse

PATIENCE = 5.0  # seconds for the lock, when saving
START_PATIENCE = 0.5  # seconds for it at start, when a broken file must be moved
KEPT = 5  # broken files, and their backups


@dataclasses.dataclass(frozen=True)
class Loaded:
    """`warning` is a sentence for the user; `document` is then only what remained."""

    document: Document
    warning: str | None = None


@dataclasses.dataclass(frozen=True)
class _Version:
    """What stood in the file at one moment. `status` is None where there was no file."""

    document: Document
    raw: bytes = b""
    status: os.stat_result | None = None


class SettingsFile:
    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self.path = path
        self._target = _behind_links(path)
        self._patience = patience

    @property
    def can_be_written(self) -> bool:
        """Whether the folder, or the nearest one above it that exists, takes new files."""
        folder = self._target.parent
        while not _may(os.F_OK, folder) and folder != folder.parent:
            folder = folder.parent
        return _may(os.W_OK | os.X_OK, folder)

    def load(self) -> Loaded:
        """What the file says. Never raises; a broken file is moved aside."""
        try:
            return Loaded(self._read().document)
        except OSError as error:
            return Loaded({}, f"{self.path} cannot be read: {_cause(error)}; defaults are used")
        except BrokenFileError as broken:
            return self._load_broken(broken)

    def change(self, edit: Callable[[Document], None], otherwise: Document) -> Loaded:
        """Read, `edit` and write under the lock; from `otherwise`, when the file broke meanwhile. SynapticError: nothing was saved."""
        try:
            self._target = _behind_links(self.path)  # the link may lead elsewhere since
            self._target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked(self._patience):
                self._beside(".saving").unlink(missing_ok=True)
                before, warning = self._current(otherwise)
                after = copy.deepcopy(before.document)
                edit(after)
                self._write(before, after)
                return Loaded(after, warning)
        except OSError as error:
            raise SynapticError(f"settings cannot be saved in {self.path}: {_cause(error)}", hint="see: config path") from error

    @property
    def backup(self) -> Path | None:
        """The last good version before this one."""
        plain = self._beside(".bak")
        return plain if plain.exists() else max(self._all(".bak-"), key=_moved_at, default=None)

    def _beside(self, suffix: str) -> Path:
        return self._target.with_name(self._target.name + suffix)

    def _all(self, suffix: str) -> list[Path]:
        start = self._target.name + suffix
        if not self._target.parent.is_dir():
            return []
        return [each for each in self._target.parent.iterdir() if each.name.startswith(start)]

    def _read(self) -> _Version:
        try:
            status = self._target.stat()
        except FileNotFoundError:
            return _Version({})
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is no regular file")
        with self._target.open("rb") as file:
            raw = file.read(LIMIT + 1)
        return _Version(parse(raw), raw, status)

    def _load_broken(self, broken: BrokenFileError) -> Loaded:
        try:
            with self._locked(START_PATIENCE):
                current, warning = self._current({})  # another program may have mended it by now
                return Loaded(current.document, warning)
        except (OSError, SynapticError) as error:
            cause = _cause(error) if isinstance(error, OSError) else str(error)
            return Loaded({}, f"{self.path} is broken: {broken}; it could not be moved aside: {cause}. Defaults are used")

    def _current(self, otherwise: Document) -> tuple[_Version, str | None]:
        try:
            return self._read(), None
        except BrokenFileError as broken:
            return _Version(otherwise), self._set_aside(broken)

    def _set_aside(self, broken: BrokenFileError) -> str:
        when = time.strftime("%Y%m%d-%H%M%S")
        if (backup := self._beside(".bak")).exists():
            backup.replace(self._free(".bak-", when))  # first: a kill in between loses no backup
        aside = self._free(".corrupt-", when)
        self._target.chmod(0o600)
        self._target.replace(aside)
        said = f"{self.path} was broken ({broken}) and is now {aside}; defaults are used"
        if self.backup is None:
            return f"{said}. There is no backup"
        return f"{said}. To get the last backup back: cp {shlex.quote(str(self.backup))} {shlex.quote(str(self.path))}"

    def _free(self, suffix: str, when: str) -> Path:
        """A name that nothing has yet, after making room for it among the `KEPT` ones."""
        for oldest in sorted(self._all(suffix), key=_moved_at)[: -KEPT + 1 or None]:
            oldest.unlink()
        name, number = self._beside(suffix + when), 1
        while name.exists():
            number += 1
            name = self._beside(f"{suffix}{when}-{number}")
        return name

    def _write(self, before: _Version, after: Document) -> None:
        raw = dump(after)
        if raw == dump(before.document if before.status else {}):
            return
        if len(raw) > LIMIT:
            raise SynapticError(f"settings cannot be saved in {self.path}: they would be larger than {LIMIT >> 20} MB")
        if before.status:
            self._must_be_ours(before.status)
            self._replace(self._beside(".bak"), before.raw, before.status)
        self._replace(self._target, raw, before.status)
        with contextlib.suppress(OSError):  # some network file systems cannot sync a folder; the file itself is safe
            _sync_folder(self._target.parent)

    def _must_be_ours(self, status: os.stat_result) -> None:
        """A rename replaces a file that could not be written, and parts hard links: refuse both."""
        if not status.st_mode & 0o222 or not _may(os.W_OK, self._target):
            raise SynapticError(f"{self.path} is read-only; nothing was saved", hint=f"try: chmod u+w {shlex.quote(str(self.path))}")
        if status.st_nlink > 1:
            raise SynapticError(
                f"{self.path} has {status.st_nlink} hard links, which a save would part; nothing was saved",
                hint="use a symbolic link instead, or keep one of the names",
            )

    def _replace(self, final: Path, raw: bytes, like: os.stat_result | None) -> None:
        """Put `raw` at `final` in one step, with the owner and mode of `like`, else 0600."""
        saving = self._beside(".saving")
        try:
            with os.fdopen(os.open(saving, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
                if like:
                    _take_after(file.fileno(), like)
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            saving.replace(final)
        finally:
            saving.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self, within: float) -> Iterator[None]:
        """A lock on the settings file itself would be lost with the rename; this one is released even by a kill."""
        lock = self._beside(".lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            _lock(descriptor, lock, within)
            yield
        finally:
            os.close(descriptor)


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises where links go round


def _lock(descriptor: int, lock: Path, within: float) -> None:
    deadline = time.monotonic() + within
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise SynapticError(
                    f"another program has held {lock} for {within:g} s; nothing was saved",
                    hint=f"try again, or see who it is: fuser {lock}",
                ) from None
            time.sleep(0.005)  # flock has no deadline of its own


def _take_after(descriptor: int, like: os.stat_result) -> None:
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (like.st_uid, like.st_gid):
        os.fchown(descriptor, like.st_uid, like.st_gid)  # refused to all but root, and so is the save
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode) & 0o777)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _may(wish: int, path: Path) -> bool:
    return os.access(path, wish, effective_ids=os.access in os.supports_effective_ids)


def _moved_at(path: Path) -> int:
    return path.stat().st_ctime_ns


def _cause(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{os_reason(error)}{where}"
