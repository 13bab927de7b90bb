"""By what a model that was measured is known again, without reading its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from synaptic.bench.result import Identity
from synaptic.models.gguf import read_tensors
from synaptic.models.model import Model

BY_HEADER = "sha256 of the file's header (all before the weights) and its size in bytes"
BY_START = "sha256 of the file's first MiB and its size in bytes"
BY_SERVER = "the digest that its server states"
UNKNOWN = "its file is not known"
START = 1 << 20  # bytes of a file that is no GGUF


def identity_of(model: Model) -> Identity:
    """Reads the beginning of its file, or takes a server's word for it. Raises EngineError for a broken GGUF file."""
    if model.path is not None:
        return Identity(model.name, _sum(model.path), model.quantization, BY_HEADER if _is_gguf(model.path) else BY_START)
    digest = next((offer.digest for offer in model.offers if offer.digest), None)
    return Identity(model.name, digest, model.quantization, BY_SERVER if digest else UNKNOWN)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(read_tensors(path)[0] if _is_gguf(path) else START)
    return hashlib.sha256(head + str(path.stat().st_size).encode()).hexdigest()


def _is_gguf(path: Path) -> bool:
    return path.suffix == ".gguf"
