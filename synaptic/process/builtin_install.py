"""The packages of the built-in engine: wheels only, put beside this program's own."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from synaptic.errors import EngineError
from synaptic.events import Bus
from synaptic.process.step import Steps

_NO_NETWORK = re.compile(
    r"Failed to establish a new connection|Temporary failure in name resolution|Connection(Error| refused| reset)|timed out"
)
PACKAGES = ("numpy>=2,<3", "numba>=0.68,<1")  # as the extra `dllama` of pyproject.toml


def is_installed() -> bool:
    """numba is worth having, and numpy must be there."""
    return importlib.util.find_spec("numpy") is not None


async def install_builtin(bus: Bus, log: Path, variables: Mapping[str, str]) -> None:
    """Some seconds, and about 300 MB on disk. Raises EngineError."""
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    hold = os.open(os.devnull, os.O_RDONLY)  # a build holds its lock open here; this has none
    try:
        steps = Steps(log, variables, holds=hold)
        pip = (sys.executable, "-m", "pip", "install", "--only-binary", ":all:", "--no-input", "--progress-bar", "off")
        with bus.work("fetching numpy and numba"):
            await steps.run("fetching numpy and numba", *pip, *PACKAGES)
    except EngineError as error:
        if not _NO_NETWORK.search("\n".join(error.details)):
            raise
        message = "numpy and numba could not be fetched: the package index does not answer"
        raise EngineError(
            message, hint=f"is this machine online? pip's own settings count (PIP_INDEX_URL, PIP_FIND_LINKS)\n  the whole log: {log}"
        ) from error
    finally:
        os.close(hold)
    importlib.invalidate_caches()
    if not is_installed():
        raise EngineError("numpy was fetched and is not found", hint=f"the whole log: {log}")
