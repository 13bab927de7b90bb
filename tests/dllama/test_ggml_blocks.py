"""The block formats of ggml, judged by the gguf package."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from synaptic.dllama.convert.ggml_blocks import KINDS, floats


@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_of_a_block_means_the_same(kind: str) -> None:
    _, size = KINDS[kind]
    raw = np.random.default_rng(3).integers(0, 256, (512, size), np.uint8)
    with np.errstate(all="ignore"):
        judge = gguf.quants.dequantize(raw.view(np.float32) if kind == "F32" else raw, gguf.GGMLQuantizationType[kind])
    np.testing.assert_array_equal(floats(raw.tobytes(), kind), np.asarray(judge, np.float32).reshape(-1))


def test_the_sizes_of_blocks() -> None:
    assert {kind: tuple(gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]) for kind in KINDS} == KINDS
