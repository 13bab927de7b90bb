"""What can be asked: a model, in files here, at servers elsewhere, or both."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from synaptic.errors import EngineError

LLAMA_CPP, DLLAMA, BUILTIN, OLLAMA, OPENAI = "llama.cpp", "dllama", "builtin", "ollama", "openai"
ENGINES = (OLLAMA, LLAMA_CPP, DLLAMA, BUILTIN, OPENAI)  # that may answer


@dataclasses.dataclass(frozen=True)
class Offer:
    """What one server said it can answer with. Sizes in bytes; 0 and empty: it did not say."""

    name: str  # as that server calls it
    node: str  # its URL
    engine: str  # OLLAMA or OPENAI
    bytes: int = 0
    parameters: int = 0
    quantization: str = ""
    family: str = ""
    context: int = 0
    digest: str = ""
    is_loaded: bool = False
    loaded_until: str = ""  # as Ollama writes a moment
    on_gpu: int = 0  # bytes of it there


@dataclasses.dataclass(frozen=True)
class Model:
    """`name` finds the model again; `bytes` is the size of its files. 0 and empty: not known."""

    name: str
    source: str  # "shipped", "folder", "file", "ollama" (its store on this machine) or "node" (only at servers)
    path: Path | None  # None: no file here
    architecture: str
    parameters: int
    active_parameters: int
    layers: int
    context: int  # tokens the model was trained for
    quantization: str
    bytes: int
    engines: tuple[str, ...]
    temperature: float | None = None  # at which it is meant to be asked
    modified: float = 0.0  # seconds since the epoch
    offers: tuple[Offer, ...] = ()

    @property
    def is_shipped(self) -> bool:
        """The little one that comes with the program, to show what it does."""
        return self.source == "shipped"


def file_of(model: Model) -> Path:
    """Its file on this machine; EngineError when it has none."""
    if model.path is None:
        where = ", ".join(sorted({offer.node for offer in model.offers})) or "elsewhere"
        raise EngineError(f"{model.name} has no file on this machine: it is at {where}", hint=f"try: model pull {model.name}")
    return model.path
