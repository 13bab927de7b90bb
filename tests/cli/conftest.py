from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from program import Done, run_main


@pytest.fixture
def run(own_home: Path) -> Callable[..., Done]:
    """Runs the whole program as a user would, and gives back what it said."""
    return partial(run_main, cwd=own_home)
