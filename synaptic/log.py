"""Our own log: one file, rotated, never the terminal."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path

from synaptic.terminal import visible

NAME = "synaptic.log"
SIZE, FILES = 10 * 1024 * 1024, 5


class _Visible(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _File(logging.handlers.RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """A disk that is full, or gone: Python would write its traceback onto the terminal."""


def to_file(folder: Path | None, *, debug: bool = False) -> Path | None:
    """Send everything logged under `synaptic` to a file in `folder`; its path, or None when there is nowhere to write."""
    logger = logging.getLogger("synaptic")
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    try:
        if folder is None:
            raise FileNotFoundError
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler = _File(folder / NAME, maxBytes=SIZE, backupCount=FILES - 1, encoding="utf-8", delay=True)
    except OSError:
        logger.addHandler(logging.NullHandler())
        return None
    handler.setFormatter(_Visible("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    return folder / NAME
