"""
The tokenizer (.t) of a distributed-llama model (.m): a second file beside it, which the model does not name.

distributed-llama's own downloads are called dllama_model_X.m and dllama_tokenizer_X.t; others share the first words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synaptic.errors import EngineError

_AT_LEAST = 3  # characters that two names share by intention


def tokenizer_of(model: Path) -> Path:
    """Blocks on the disk. Raises EngineError when there is none, or no telling which."""
    found = sorted(path for path in model.parent.glob("*.t") if path.is_file())
    if not found:
        raise EngineError(f"{model.name} needs its tokenizer, and there is no .t file beside it", hint=f"put it into {model.parent}")
    if best := _best(model.stem, found):
        return best
    names = ", ".join(path.name for path in found)
    raise EngineError(f"no telling which tokenizer belongs to {model.name}: {names}", hint=f"name it {model.stem}.t, or make a link")


def _best(stem: str, found: Sequence[Path]) -> Path | None:
    for name in (stem, stem.replace("model", "tokenizer")):
        if exact := next((path for path in found if path.stem == name), None):
            return exact
    if len(found) == 1:
        return found[0]
    shared = {path: _shared(path.stem, stem) for path in found}
    longest = max(shared.values())
    nearest = [path for path, length in shared.items() if length == longest]
    return nearest[0] if len(nearest) == 1 and longest >= _AT_LEAST else None


def _shared(one: str, other: str) -> int:
    """With how many characters both begin."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
