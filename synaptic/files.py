"""Files as people name them, and files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from synaptic.errors import unwritten


def path_of(text: str | Path) -> Path:
    """As it is typed: ~ is a home, unless it is nobody's."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises where there is no such home


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when all of it is written; before that, whoever reads has the old one. OSError."""
    import tempfile  # takes a while, and most programs write nothing

    number, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """The old file or the new one, never half of it. Raises SynapticError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with appearing(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise unwritten(path, error) from error
