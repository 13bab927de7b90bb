"""config.json of a model's folder: how it is built, and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synaptic.errors import UsageError
from synaptic.models.hub_config import HubConfig, read_hub_config

MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "hidden_size": 6144,
    "intermediate_size": 16384,
    "max_position_embeddings": 131072,
    "num_attention_heads": 48,
    "num_hidden_layers": 56,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 32768,
}


def read(folder: Path, document: object) -> HubConfig:
    (folder / "config.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return read_hub_config(folder)


def test_how_a_model_is_built(tmp_path: Path) -> None:
    quantized = {**MISTRAL, "quantization_config": {"quant_method": "awq", "bits": 4}}
    assert read(tmp_path, quantized) == HubConfig(56, 6144, 48, 8, 128, 16384, 32768, 131072, "awq")
    assert read(tmp_path, MISTRAL).quantization is None


def test_what_older_ones_leave_out(tmp_path: Path) -> None:
    """Then every head has a KV head, and they share the hidden size."""
    old = {key: value for key, value in MISTRAL.items() if key not in ("num_key_value_heads", "head_dim")}
    assert (read(tmp_path, old).kv_heads, read(tmp_path, old).head_dim) == (48, 128)


def test_mixtures_and_models_that_see(tmp_path: Path) -> None:
    mixture = {**MISTRAL, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}
    said = read(tmp_path, mixture)
    assert (said.experts, said.experts_used, said.intermediate) == (128, 8, 768)
    assert read(tmp_path, {"model_type": "pixtral", "text_config": MISTRAL}).layers == 56


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ([], "is no description of a model"),
        (" " * (1 << 21), "is no description of a model"),
        ({}, "does not say num_hidden_layers, hidden_size, num_attention_heads, vocab_size, intermediate_size"),
        ({**MISTRAL, "num_hidden_layers": 1 << 40}, "does not say num_hidden_layers"),
        ({**MISTRAL, "hidden_size": -1}, "does not say hidden_size"),
        ({**MISTRAL, "vocab_size": True}, "does not say vocab_size"),
    ],
)
def test_what_is_none(tmp_path: Path, document: object, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read(tmp_path, document)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_hub_config(tmp_path)
