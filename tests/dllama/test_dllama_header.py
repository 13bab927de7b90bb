"""What a distributed-llama model says of itself, and that it is as long as it says."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from dllama.dllamas import LAYER, LLAMA_BYTES, QWEN3_BYTES, SMALL, head, write

from synaptic.dllama.header import NotAModelError, read_header


def refused(path: Path) -> str:
    with pytest.raises(NotAModelError) as caught:
        read_header(path)
    return str(caught.value)


def test_a_llama(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "m.m", LLAMA_BYTES))
    assert (header.architecture, header.quantization, header.layers, header.context) == ("llama", "Q40", 2, 512)
    assert (header.head_dim, header.rope_type, header.rope_theta, header.norm_epsilon) == (16, 0, 10_000, 1e-5)
    assert header.parameters == header.active_parameters == 2 * (LAYER + 128) + 2 * 6400 + 64
    assert header.bytes_per_layer == LAYER * 18 // 32 + 512


def test_a_qwen3_has_norms_for_its_heads_and_halves(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "m.m", QWEN3_BYTES, arch=0xABCD01, rope_type=0, epsilon=6, theta=1_000_000))
    assert (header.architecture, header.rope_type, header.norm_epsilon, header.rope_theta) == ("qwen3", 1, 1e-6, 1_000_000)


def test_a_mixture_counts_its_experts(tmp_path: Path) -> None:
    expert, attention = 3 * 64 * 32, LAYER - 3 * 64 * 160
    extra = int(2 * ((8 * expert - 3 * 64 * 160) * 18 / 32 + 8 * 64 * 4))
    path = write(tmp_path / "m.m", QWEN3_BYTES + extra, arch=0xABCD02, experts=8, active=2, moe_hidden=32)
    header = read_header(path)
    assert (header.architecture, header.experts, header.active_experts) == ("qwen3moe", 8, 2)
    assert header.parameters - header.active_parameters == 2 * 6 * expert
    assert header.parameters == 2 * (attention + 8 * expert + 8 * 64 + 128 + 32) + 2 * 6400 + 64


LIES = {
    "nothing": (b"", "is empty"),
    "three bytes": (b"\xcd\xab\0", "is not a distributed-llama model"),
    "llama.cpp's": (b"GGUF" + bytes(99), "is a GGUF file; model convert makes"),
    "its tokenizer": (struct.pack("<II", 0x567124, 64) + bytes(99), "is a tokenizer"),
    "a text": (b"function y = f(x)\n" * 9, "is not a distributed-llama model"),
    "the old format": (struct.pack("<ii", 0xABCD00, 8), "old format"),
    "a header without end": (struct.pack("<ii", 0x0A00ABCD, 2**31 - 8), "claims a header of"),
    "a negative header": (struct.pack("<ii", 0x0A00ABCD, -8), "claims a header of"),
    "half a pair": (struct.pack("<iii", 0x0A00ABCD, 12, 0), "claims a header of"),
    "a cut header": (head(**SMALL)[:-8], "ends early"),
    "an unknown key": (struct.pack("<iiii", 0x0A00ABCD, 16, 99, 0), "header key 99"),
    "no weight type": (head(**{key: value for key, value in SMALL.items() if key != "weights"}), "does not say its weights"),
    "a negative width": (head(**SMALL | {"dim": -1}), "claims dim = -1"),
    "no heads": (head(**SMALL | {"heads": 0}), "a shape that no model has"),
    "an unknown architecture": (head(**SMALL | {"arch": 7}), "does not know"),
    "an unknown epsilon": (head(**SMALL | {"epsilon": 7}), "a shape that no model has"),
    "no weights": (head(**SMALL), f"ends early, {LLAMA_BYTES} bytes are missing"),
    "one byte too few": (head(**SMALL) + bytes(LLAMA_BYTES - 1), "ends early, 1 bytes are missing"),
    "one byte too many": (head(**SMALL) + bytes(LLAMA_BYTES + 1), "is 1 bytes longer"),
    "the largest there is": (head(**SMALL | {"dim": 2**31 - 1, "hidden": 2**31 - 1, "layers": 2**31 - 1}), "ends early"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused(lie: str, tmp_path: Path) -> None:
    content, sentence = LIES[lie]
    (tmp_path / "m.m").write_bytes(content)
    assert sentence in refused(tmp_path / "m.m")


def test_what_is_no_file_waits_for_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.m")
    assert refused(tmp_path / "m.m") == "is not a regular file"
    with pytest.raises(OSError, match="No such file"):
        read_header(tmp_path / "gone.m")
