"""Which files of models lie below some folders. Bounded: a folder may be a whole disk, or link to itself."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

DEEPEST = 4  # levels below a folder: <hub>/models--<name>/snapshots/<revision>/<file>
MOST_FILES = 2000
MOST_LOOKED_AT = 20_000  # entries of folders, in one walk
SMALLEST_DLLAMA = 256 * 1024  # bytes


def model_files(folders: Iterable[Path]) -> list[Path]:
    """Nearest first, each folder once however many links lead to it. What cannot be read is passed over."""
    return list(itertools.islice(_walk(deque((folder, 0) for folder in folders)), MOST_FILES))


def _walk(waiting: deque[tuple[Path, int]]) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    left = MOST_LOOKED_AT
    while waiting and left > 0:
        folder, depth = waiting.popleft()
        if not _is_new(folder, seen):
            continue
        entries = _entries(folder, left)
        left -= len(entries)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_model(entry):
                yield Path(entry.path)
            elif depth < DEEPEST and _is_folder(entry):
                waiting.append((Path(entry.path), depth + 1))


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    try:
        found = folder.stat()
    except OSError:
        return False
    identity = found.st_dev, found.st_ino
    is_new = identity not in seen
    seen.add(identity)
    return is_new


def _entries(folder: Path, most: int) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(itertools.islice(entries, most), key=lambda entry: entry.name)
    return []


def _is_model(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    return name.endswith(".gguf") or (name.endswith(".m") and _is_large(entry))


def _is_large(entry: os.DirEntry[str]) -> bool:
    """No program text, which may end in .m too, is as long as a model."""
    try:
        return entry.stat().st_size >= SMALLEST_DLLAMA and not entry.is_dir()
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
