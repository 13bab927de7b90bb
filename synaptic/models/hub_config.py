"""
The config.json of a model's folder as the hub and vLLM have it: how the model is built. Bounded, and believed only where plausible.

    {"num_hidden_layers": 56, "hidden_size": 6144, "num_attention_heads": 48, "num_key_value_heads": 8, "head_dim": 128,
     "intermediate_size": 16384, "vocab_size": 32768, "quantization_config": {"quant_method": "awq"}, …}

Mixtures name their experts num_local_experts or num_experts, and what one of them computes moe_intermediate_size.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from synaptic.errors import UsageError, os_reason
from synaptic.terminal import one_line

NAME = "config.json"
LONGEST = 1 << 20  # bytes
_LARGEST = 1 << 24


@dataclasses.dataclass(frozen=True)
class HubConfig:
    """`quantization` None: as trained, 16 bits."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    context: int
    quantization: str | None
    experts: int = 1
    experts_used: int = 1


def read_hub_config(folder: Path) -> HubConfig:
    """Raises UsageError."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1)
        document = json.loads(text) if len(text) <= LONGEST else None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {os_reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} is no description of a model")
    inner = document.get("text_config")  # of a model that also sees
    return _read({**document, **inner} if isinstance(inner, dict) else document, path)


def _read(said: Mapping[str, object], path: Path) -> HubConfig:
    needed = {name: _count(said, name) for name in ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")}
    intermediate = _count(said, "moe_intermediate_size") or _count(said, "intermediate_size")
    missing = [name for name, value in {**needed, "intermediate_size": intermediate}.items() if not value]
    if missing:
        raise UsageError(f"{path} does not say {', '.join(missing)}")
    heads, hidden = needed["num_attention_heads"], needed["hidden_size"]
    experts = _count(said, "num_local_experts") or _count(said, "num_experts") or 1
    quantized = said.get("quantization_config")
    method = quantized.get("quant_method") if isinstance(quantized, dict) else None
    return HubConfig(
        needed["num_hidden_layers"],
        hidden,
        heads,
        _count(said, "num_key_value_heads") or heads,
        _count(said, "head_dim") or max(hidden // heads, 1),
        intermediate,
        needed["vocab_size"],
        _count(said, "max_position_embeddings"),
        one_line(method, 40) if isinstance(method, str) else None,
        experts,
        min(_count(said, "num_experts_per_tok") or 1, experts),
    )


def _count(said: Mapping[str, object], name: str) -> int:
    value = said.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST else 0
