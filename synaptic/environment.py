"""The world outside: variables, streams and folders, as one value that a test can replace."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from synaptic.files import path_of

SETTINGS_NAME = ".synapticllamas.json"
APP = "synapticllamas"


@dataclasses.dataclass(frozen=True)
class Environment:
    """`SYNAPTICLLAMAS_HOME` moves every folder below one place; else the XDG folders are used."""

    variables: Mapping[str, str]
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO

    @classmethod
    def of_this_process(cls) -> Environment:
        return cls(os.environ, sys.stdin, sys.stdout, sys.stderr)

    @property
    def home(self) -> Path | None:
        """The user's home, or None where there is none to write to."""
        named = self.variables.get("HOME")
        if named is not None:
            return Path(named) if Path(named).is_dir() else None
        try:
            return Path.home()
        except RuntimeError:  # no HOME and no passwd entry
            return None

    @property
    def settings_file(self) -> Path | None:
        if moved := self._moved:
            return moved / SETTINGS_NAME
        return self.home / SETTINGS_NAME if self.home else None

    @property
    def state_dir(self) -> Path | None:
        """History, logs, ledger of processes."""
        return self._folder("state", "XDG_STATE_HOME", ".local/state")

    @property
    def data_dir(self) -> Path | None:
        """Engines and downloaded models."""
        return self._folder("data", "XDG_DATA_HOME", ".local/share")

    @property
    def models_dir(self) -> Path | None:
        """Those that were pulled or converted."""
        return self.data_dir / "models" if self.data_dir else None

    @property
    def cache_dir(self) -> Path | None:
        """What may be deleted and comes again."""
        return self._folder("cache", "XDG_CACHE_HOME", ".cache")

    @property
    def is_interactive(self) -> bool:
        return _is_tty(self.stdin) and _is_tty(self.stdout)

    @property
    def _moved(self) -> Path | None:
        named = self.variables.get("SYNAPTICLLAMAS_HOME")
        return path_of(named).absolute() if named else None

    def _folder(self, name: str, variable: str, below_home: str) -> Path | None:
        if moved := self._moved:
            return moved / name
        if (base := self.variables.get(variable)) and Path(base).is_absolute():  # XDG: relative paths are ignored
            return Path(base) / APP
        return self.home / below_home / APP if self.home else None


def _is_tty(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False
