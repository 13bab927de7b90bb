"""What must be held and read of a model, from files written by the reference writer."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import DEMO
from models.conftest import F16, F32, Tensors, write_model

from synaptic.models.split import read_whole
from synaptic.planning.shape import Shape, cells

D, FORWARD, VOCABULARY, LAYERS = 256, 640, 4096, 4


def shape(path: Path, *, tied: bool = False, experts: int = 0, used: int = 0) -> Shape:
    tensors: Tensors = {"token_embd.weight": ((VOCABULARY, D), F16), "output_norm.weight": ((D,), F32)}
    if not tied:
        tensors["output.weight"] = ((VOCABULARY, D), F16)
    for layer in range(LAYERS):
        tensors |= {f"blk.{layer}.{name}.weight": ((D, D), F16) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
        for name in ("ffn_gate", "ffn_up", "ffn_down"):
            matrix = (D, FORWARD) if name == "ffn_down" else (FORWARD, D)
            tensors[f"blk.{layer}.{name}{'_exps' if experts else ''}.weight"] = ((experts, *matrix) if experts else matrix, F16)
    numbers = {"llama.attention.head_count": 4, "llama.embedding_length": D}
    numbers |= {"llama.expert_count": experts, "llama.expert_used_count": used} if experts else {}
    return Shape.of(read_whole(write_model(path / "m.gguf", tensors, layers=LAYERS, numbers=numbers)))


def test_sizes_that_the_header_does_not_name_are_worked_out(tmp_path: Path) -> None:
    found = shape(tmp_path)
    assert found.layers == LAYERS
    assert found.vocabulary == pytest.approx(VOCABULARY, rel=0.01)
    assert found.feed_forward == pytest.approx(FORWARD, rel=0.01)
    assert found.kv_bytes(1, 256) == 2 * D * 256 * 2
    assert found.bytes == sum(found.layer_bytes) + VOCABULARY * D * 2 + 4 * D


def test_an_embedding_that_is_the_output_too_is_held_twice(tmp_path: Path) -> None:
    found = shape(tmp_path, tied=True)
    assert found.output_bytes == found.embedding_bytes + 4 * D
    assert found.weights(0, LAYERS) == sum(found.layer_bytes) + found.output_bytes
    assert found.weights(0, LAYERS - 1) == sum(found.layer_bytes[:-1])
    assert found.weights(LAYERS, LAYERS) == 0


def test_of_a_mixture_only_the_experts_that_are_asked_are_read(tmp_path: Path) -> None:
    found = shape(tmp_path, experts=8, used=2)
    attention, expert = 4 * D * D * 2, 3 * D * FORWARD * 2
    assert found.read_per_token(0, 1) == pytest.approx(attention + 2 * expert, rel=0.01)
    assert found.weights(0, 1) == attention + 8 * expert
    assert found.feed_forward == pytest.approx(2 * FORWARD, rel=0.01)


def test_the_cache_is_rounded_up_and_smaller_when_quantized(tmp_path: Path) -> None:
    found = shape(tmp_path)
    assert cells(1) == cells(256) == 256
    assert cells(257) == 512
    assert found.kv_bytes(2, 257, slots=3) == 3 * found.kv_bytes(2, 512)
    assert found.kv_bytes(1, 256, kv_type="q8_0") == found.kv_bytes(1, 256) * 34 // 64


def test_the_shipped_model() -> None:
    found = Shape.of(read_whole(DEMO))
    assert found.layers == 4
    assert found.kv_elements == 256
    assert found.output_bytes < found.embedding_bytes
