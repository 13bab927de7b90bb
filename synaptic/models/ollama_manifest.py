"""
A manifest of Ollama's store, which is untrusted: bounded, and its digests checked before they become paths.

    {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:<64 hex>", "size": 4661211424}, …]}

Layers: model (several: a split GGUF), projector (eyes), adapter (LoRA), and texts such as template, system, params, license.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

LARGEST = 1024**2  # bytes; real ones have 1 KiB
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_KIND = "application/vnd.ollama.image."


@dataclasses.dataclass(frozen=True)
class Layer:
    kind: str  # "model", "projector", "adapter", "template" …
    file: str  # sha256-<64 hex>: its name in blobs/
    bytes: int


class BrokenManifestError(Exception):
    """Says what is wrong with it: `is not JSON`."""


def read_manifest(path: Path) -> tuple[Layer, ...]:
    """Blocks on the disk. OSError, BrokenManifestError."""
    try:
        document = json.loads(_read(path))
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are no UTF-8
        raise BrokenManifestError("is not JSON") from error
    layers = document.get("layers") if isinstance(document, dict) else None
    if not isinstance(layers, list):
        raise BrokenManifestError("lists no layers")
    return tuple(_layer(each) for each in layers)


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BrokenManifestError("is not a regular file")
        if found.st_size > LARGEST:
            raise BrokenManifestError(f"has {found.st_size} bytes, which no manifest has")
        return os.read(descriptor, LARGEST)
    finally:
        os.close(descriptor)


def _layer(entry: object) -> Layer:
    if not isinstance(entry, Mapping):
        raise BrokenManifestError("lists a layer that is none")
    kind, digest, size = (entry.get(key) for key in ("mediaType", "digest", "size"))
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if not isinstance(kind, str) or match is None:
        raise BrokenManifestError("names a layer by something else than a sha256 digest")
    return Layer(kind.removeprefix(_KIND), f"sha256-{match[1]}", size if isinstance(size, int) else 0)
