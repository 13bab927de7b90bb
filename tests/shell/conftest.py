from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from synaptic.environment import Environment
from synaptic.shell.face import Face


class Screen(io.StringIO):
    """A terminal of 60 columns that remembers what was written to it."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@dataclasses.dataclass
class Shown:
    """A face and what it has said so far."""

    face: Face
    out: Screen
    err: Screen


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, own_home: Path) -> Callable[..., Shown]:
    """`shown()` is a pipe; `shown(terminal=True)` a terminal without colours."""
    for name, value in {"COLUMNS": "60", "LINES": "20", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)

    def start(*, terminal: bool = False, columns: int = 60, as_json: bool = False, plain: bool = True, debug: bool = False) -> Shown:
        monkeypatch.setenv("COLUMNS", str(columns))
        out, err = Screen(is_terminal=terminal), Screen(is_terminal=terminal)
        environment = Environment({"SYNAPTICLLAMAS_HOME": str(own_home)}, io.StringIO(), out, err)
        return Shown(Face(environment, as_json=as_json, plain=plain, debug=debug), out, err)

    return start
