"""Synthetic models with random weights, for measurements."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.layout import Tensor
from synaptic.dllama.model_writer import sized, write_model
from synaptic.dllama.quants import Q40

VOCABULARY = 768  # of the demo's tokenizer

SMALL = DllamaHeader(
    architecture="llama",
    version=0,
    dim=1280,
    hidden_dim=3584,
    layers=16,
    heads=20,
    kv_heads=10,
    head_dim=64,
    experts=0,
    active_experts=0,
    vocabulary=VOCABULARY,
    context=1024,
    activation=1,
    rope_type=0,
    rope_theta=10_000,
    rope_scaling=1,
    rope_low_frequency=0,
    rope_high_frequency=0,
    rope_original_context=0,
    norm_epsilon=1e-5,
    moe_hidden_dim=0,
    quantization="Q40",
    header_bytes=0,
    file_bytes=0,
)
WIDE = dataclasses.replace(SMALL, dim=2048, hidden_dim=5632, heads=32, kv_heads=4, context=512)
MIXTURE = dataclasses.replace(
    dataclasses.replace(SMALL, architecture="qwen3moe", dim=1024, heads=16, kv_heads=4, context=512, rope_type=1),
    experts=64,
    active_experts=4,
    moe_hidden_dim=512,
)


def write(path: Path, shape: DllamaHeader, layers: int) -> None:
    random = np.random.default_rng(1)
    write_model(path, sized(dataclasses.replace(shape, layers=layers)), lambda tensor: content(random, tensor))


def content(random: np.random.Generator, tensor: Tensor) -> Iterator[bytes]:
    """All logits are 0, so that it is always the first token, which every program can print."""
    if tensor.kind == "Q40":
        yield q40(random, tensor.rows, tensor.columns)
    elif tensor.name == "final_norm":
        yield bytes(tensor.bytes)
    else:
        yield random.normal("norm" in tensor.name, 0.1, tensor.rows * tensor.columns).astype("<f4").tobytes()


def q40(random: np.random.Generator, rows: int, columns: int) -> bytes:
    blocks = np.empty((rows, columns // 32), Q40)
    blocks["d"] = random.uniform(0.1, 0.3, blocks.shape) / columns**0.5
    blocks["qs"] = random.integers(0, 256, blocks["qs"].shape, np.uint8)
    return blocks.tobytes()
