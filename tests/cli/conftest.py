from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MAIN = Path(__file__).parents[2] / "main.py"


@dataclasses.dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run(own_home: Path) -> Run:
    """Runs the whole program as a user would, and gives back what it said."""

    def start(*words: str, stdin: str = "", timeout: float = 50, **variables: str) -> Done:
        done = subprocess.run(
            [sys.executable, str(MAIN), *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | variables,
            cwd=own_home,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return start
