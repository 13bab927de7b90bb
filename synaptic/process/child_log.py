"""
The log of one child: it writes, we read along and keep it small. `name.log` is the newest, `name.1.log` the one before.

The child has the file open for appending, so it goes on at the start of a file that is cut to nothing under it. What
it writes between our last look and the cut is lost: some microseconds of an overlong log.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SIZE, FILES = 10 * 1024 * 1024, 5  # bytes of one file, and how many
LONGEST_LINE = 4096  # bytes of one line that are kept in memory


def fresh(path: Path) -> BinaryIO:
    """An empty log to give to a child; the ones before it stay, up to FILES. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size:
        _shift(path)
        path.replace(older(path, 1))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600), "wb")


def older(path: Path, number: int) -> Path:
    return path.with_suffix(f".{number}{path.suffix}")


class Tail:
    """What a child appends. `most`: bytes after which the file is put aside and begun anew."""

    def __init__(self, path: Path, most: int = SIZE) -> None:
        self._path = path
        self._most = most
        self._file = path.open("rb")

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def past(self, most: int) -> Iterator[bytes]:
        """Whole lines of the first `most` bytes of what is there already; what comes after them is passed over."""
        for line in self.lines():
            yield line
            if self._file.tell() >= most:
                self._file.seek(0, os.SEEK_END)

    def lines(self, *, is_over: bool = False) -> Iterator[bytes]:
        """Whole lines since the last call; half a one only when the child `is_over`."""
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)  # whoever else reads along has put it aside
        while raw := self._file.readline(LONGEST_LINE):
            if not raw.endswith(b"\n") and len(raw) < LONGEST_LINE and not is_over:
                self._file.seek(-len(raw), os.SEEK_CUR)  # read it again when it is whole
                return
            yield raw

    @property
    def is_full(self) -> bool:
        return self._file.tell() >= self._most

    def put_aside(self) -> None:
        """Move what was read out of the way. Blocks on the disk; a full one costs the copy, not the child."""
        try:
            _shift(self._path)
            shutil.copyfile(self._path, older(self._path, 1))
        except OSError:
            with contextlib.suppress(OSError):
                older(self._path, 1).unlink(missing_ok=True)
        os.truncate(self._path, 0)
        self._file.seek(0)


def _shift(path: Path) -> None:
    for number in range(FILES - 2, 0, -1):
        if older(path, number).exists():
            older(path, number).replace(older(path, number + 1))
