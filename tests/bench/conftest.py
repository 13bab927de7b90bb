from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from engines.conftest import fakellama  # noqa: F401 - a fixture here too

from synaptic.environment import Environment
from synaptic.session import Session
from synaptic.settings import Settings


@pytest.fixture
def session_with(tmp_path: Path) -> Callable[..., Session]:
    def make(**variables: str) -> Session:
        streams = (io.StringIO() for _ in range(3))
        return Session(Environment({"SYNAPTICLLAMAS_HOME": str(tmp_path)} | variables, *streams), Settings.load(tmp_path / "s.json", {}))

    return make
