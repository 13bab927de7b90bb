"""
Named prompts: files NAME.md in one folder, plain text with {placeholders}.

`{word}` is a placeholder, `{{word}}` the text `{word}`. Every other brace is a brace, so that code and JSON stay as they
are. What a save or a removal replaces stays beside it as NAME.md.bak.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from synaptic.errors import SynapticError, UsageError, os_reason
from synaptic.results import Json
from synaptic.terminal import one_line

LONGEST = 1024 * 1024  # bytes of one prompt
SUFFIX = ".md"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
_BRACES = re.compile(rf"\{{\{{({_WORD})\}}\}}|\{{({_WORD})\}}")


@dataclasses.dataclass(frozen=True)
class Prompt:
    name: str
    text: str
    path: Path

    @property
    def placeholders(self) -> list[str]:
        """In the order in which they first stand in the text."""
        return list(dict.fromkeys(match[2] for match in _BRACES.finditer(self.text) if match[2]))

    def as_json(self) -> Json:
        return {"name": self.name, "placeholders": list(self.placeholders), "text": self.text, "path": str(self.path)}

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with these values, which are not read again for braces. UsageError names what is missing or too much."""
        known = self.placeholders
        if unknown := [key for key in values if key not in known]:
            close = difflib.get_close_matches(unknown[0], known, n=1)
            hint = f"did you mean: {close[0]}" if close else self._usage if known else "it has no placeholders"
            raise UsageError(f"{self.name} has no placeholder {one_line(unknown[0], 40)}", hint=hint)
        if missing := [key for key in known if key not in values]:
            raise UsageError(f"{self.name} needs {', '.join(missing)}", hint=self._usage)
        return _BRACES.sub(lambda match: f"{{{match[1]}}}" if match[1] else values[match[2]], self.text)

    @property
    def _usage(self) -> str:
        return f"usage: prompts use {self.name} {' '.join(f'{key}=…' for key in self.placeholders)}"


class Prompts:
    """`folder` is made with the first save. Files may be edited by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[Prompt]:
        """Those that can be read, by name."""
        found: list[Prompt] = []
        for name in self.names():
            with contextlib.suppress(SynapticError):
                found.append(self.find(name))
        return found

    def names(self) -> list[str]:
        try:
            paths = list(self.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SynapticError(f"{self.folder} cannot be read: {os_reason(error)}") from error
        return sorted(path.stem for path in paths if path.suffix == SUFFIX and _NAME.fullmatch(path.stem))

    def find(self, name: str) -> Prompt:
        path = self._path(name)
        try:
            return Prompt(name, _read(path).decode().removesuffix("\n"), path)
        except FileNotFoundError:
            close = difflib.get_close_matches(name, self.names(), n=1)
            raise UsageError(f"no prompt is called {name}", hint=f"did you mean: {close[0]}" if close else "see: prompts list") from None
        except OSError as error:
            raise SynapticError(f"{path} cannot be read: {os_reason(error)}") from error
        except UnicodeDecodeError as error:
            raise SynapticError(f"{path} is not UTF-8 at byte {error.start}") from error

    def save(self, name: str, text: str, *, replace: bool = False) -> Prompt | None:
        """None: there is one of this name and it is not to be replaced."""
        path, raw = self._path(name), f"{text}\n".encode(errors="replace")
        if len(raw) > LONGEST:
            raise SynapticError(f"a prompt has at most {LONGEST >> 20} MiB")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not replace and path.exists():
                return None
            if replace and path.exists():
                _write(path.with_suffix(f"{SUFFIX}.bak"), _read(path), replace=True)
            return Prompt(name, text, path) if _write(path, raw, replace=replace) else None
        except OSError as error:
            raise _unsaved(path, error) from error

    def remove(self, name: str) -> Path:
        """Where its text is kept."""
        found = self.find(name)
        kept = found.path.with_suffix(f"{SUFFIX}.bak")
        try:
            found.path.replace(kept)
        except OSError as error:
            raise _unsaved(found.path, error) from error
        return kept

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            rule = "letters, digits, - and _, at most 64, the first a letter or digit"
            raise UsageError(f'"{one_line(name, 40)}" cannot be the name of a prompt', hint=rule)
        return self.folder / f"{name}{SUFFIX}"


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe in its place would block
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no regular file")
        raw = file.read(LONGEST + 1)
    if len(raw) > LONGEST:
        raise OSError(0, f"it is larger than {LONGEST >> 20} MiB")
    return raw


def _write(path: Path, raw: bytes, *, replace: bool) -> bool:
    """All or nothing. False: without `replace`, somebody else made a file of this name meanwhile."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    written = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(descriptor)
        if replace:
            written.replace(path)
        else:
            path.hardlink_to(written)  # unlike a rename it never replaces
    except FileExistsError:
        return False
    finally:
        written.unlink(missing_ok=True)
    return True


def _unsaved(path: Path, error: OSError) -> SynapticError:
    return SynapticError(f"{path} cannot be written: {os_reason(error)}")
