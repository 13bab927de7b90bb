"""The whole program, run as a user would run it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

MAIN = Path(__file__).parents[1] / "main.py"


@dataclasses.dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        return json.loads(self.out)


def run_main(*words: str, cwd: Path, stdin: str = "", within: tuple[str, ...] = (), timeout: float = 50, **variables: str) -> Done:
    """`within` are the words of a command that runs it in another world."""
    done = subprocess.run(
        [*within, sys.executable, str(MAIN), *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | variables,
        cwd=cwd,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)
