"""The files of one model among the blobs of a store, where names say nothing: the headers say which comes first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synaptic.errors import EngineError, os_reason
from synaptic.models.gguf import read_header
from synaptic.models.ollama_name import OllamaName


def in_order(name: OllamaName, files: Sequence[Path]) -> tuple[Path, ...]:
    """Every part of the model. EngineError names the part that is missing. One file is only opened to see whether it is all."""
    headers = {path: read_header(path) for path in files}
    count = max(header.split_count for header in headers.values())
    if count < 2:
        return (files[-1],)  # as Ollama does: the last layer is the model
    numbers = {header.split_number: path for path, header in headers.items() if header.split_count == count}
    missing = [number for number in range(count) if number not in numbers]
    if missing:
        text = f"{name.short} is split, and part {missing[0] + 1} of {count} is missing"
        raise EngineError(text, hint=f"try: model pull {name.short}; or: model use /path/to/the-first.gguf")
    return tuple(numbers[number] for number in range(count))


def linked(parts: Sequence[Path], folder: Path) -> Path:
    """The first of links to the parts, called as llama.cpp calls the files of a model: it finds the others by their names."""
    stem = parts[0].name.removeprefix("sha256-")
    links = [folder / f"{stem}-{number:05}-of-{len(parts):05}.gguf" for number in range(1, len(parts) + 1)]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for link, part in zip(links, parts, strict=True):
            if not link.is_symlink() or link.readlink() != part:
                link.unlink(missing_ok=True)
                link.symlink_to(part)
    except OSError as error:
        raise EngineError(f"cannot write into {folder}: {os_reason(error)}") from error
    return links[0]
