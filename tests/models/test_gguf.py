"""What a GGUF file says of its model; the gguf package, which wrote the files, is the judge."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from models.conftest import F16, F32, Q4_0, Q4_K, Q6_K, Tensors, key, raw_file, tensor, text, write_model

from synaptic.errors import EngineError
from synaptic.models.gguf import read_header
from synaptic.models.gguf_header import Header
from synaptic.models.gguf_types import FILE_TYPES, GUESSED, TENSOR_TYPES

DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo-q4_0.gguf"
EXPERTS: Tensors = {
    "token_embd.weight": ((512, 256), Q6_K),
    "output_norm.weight": ((256,), F32),
    "output.weight": ((512, 256), Q6_K),
    "blk.0.attn_q.weight": ((256, 256), Q4_K),
    "blk.0.ffn_gate_inp.weight": ((8, 256), F32),
    "blk.0.ffn_up_exps.weight": ((8, 256, 256), Q4_K),
    "blk.0.ffn_up_shexp.weight": ((256, 256), Q4_K),
    "blk.2.attn_q.weight": ((256, 256), Q4_K),
}


def experts(path: Path) -> Path:
    numbers = {"qwen3moe.expert_count": 8, "qwen3moe.expert_used_count": 2, "qwen3moe.context_length": 40960}
    return write_model(path, EXPERTS, "qwen3moe", layers=3, file_type=15, numbers=numbers, texts={"tokenizer.ggml.model": "gpt2"})


def agree(header: Header, path: Path) -> None:
    judge = gguf.GGUFReader(path)
    assert header.tensors == len(judge.tensors)
    assert header.parameters == sum(int(tensor.n_elements) for tensor in judge.tensors)
    assert header.tensor_bytes == sum(tensor.n_bytes for tensor in judge.tensors)
    assert header.file_bytes == path.stat().st_size
    for layer, size in enumerate(header.bytes_per_layer):
        assert size == sum(tensor.n_bytes for tensor in judge.tensors if tensor.name.startswith(f"blk.{layer}."))
    assert header.embedding_bytes == sum(tensor.n_bytes for tensor in judge.tensors if tensor.name.startswith("token_embd"))
    assert header.output_bytes == sum(tensor.n_bytes for tensor in judge.tensors if tensor.name.startswith("output"))


def test_the_demo_model() -> None:
    header = read_header(DEMO)
    agree(header, DEMO)
    assert (header.architecture, header.name, header.kind) == ("llama", "Distributed demo FAQ", "model")
    assert (header.parameters, header.layers, header.context, header.quantization) == (2_361_600, 4, 512, "Q4_0")
    assert (header.heads, header.kv_heads, header.key_length, header.embedding_length) == (8, 4, 32, 256)
    assert header.tokenizer == "llama"
    assert header.has_chat_template
    assert header.active_parameters == header.parameters


def test_a_mixture_of_experts_asks_only_some_of_them(tmp_path: Path) -> None:
    header = read_header(experts(tmp_path / "moe.gguf"))
    agree(header, tmp_path / "moe.gguf")
    assert header.parameters - header.active_parameters == 6 * 256 * 256
    assert (header.experts, header.experts_used, header.quantization, header.context) == (8, 2, "Q4_K_M", 40960)
    assert len(header.bytes_per_layer) == 3
    assert header.bytes_per_layer[1] == 0


@pytest.mark.parametrize("kind", [kind for kind in gguf.GGMLQuantizationType if kind in gguf.GGML_QUANT_SIZES], ids=lambda kind: kind.name)
def test_every_tensor_type_has_the_size_the_reference_gives_it(kind: gguf.GGMLQuantizationType, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", {"blk.0.attn_q.weight": ((3, 512), kind)}, layers=1)
    header = read_header(path)
    agree(header, path)
    assert header.quantization == kind.name
    assert TENSOR_TYPES[kind.value].name == kind.name


@pytest.mark.parametrize("file_type", [each for each in gguf.LlamaFileType if each.name != "GUESSED"], ids=lambda each: each.name)
def test_every_file_type_has_its_name(file_type: gguf.LlamaFileType) -> None:
    assert FILE_TYPES[file_type.value] == file_type.name.removeprefix("MOSTLY_").removeprefix("ALL_")


def test_a_guessed_file_type_is_believed(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", {"output.weight": ((2, 32), F16)}, file_type=GUESSED + 7)
    assert read_header(path).quantization == "Q8_0"


def test_without_a_file_type_most_values_decide(tmp_path: Path) -> None:
    tensors: Tensors = {f"blk.0.norm{number}": ((32,), F32) for number in range(5)}
    path = write_model(tmp_path / "m.gguf", {**tensors, "output.weight": ((64, 32), Q4_0)}, file_type=None)
    assert read_header(path).quantization == "Q4_0"


def test_a_vocabulary_of_any_size_is_stepped_over(tmp_path: Path) -> None:
    path = tmp_path / "words.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    words = [f"word {number}" * (number % 7) for number in range(20_000)]
    writer.add_token_list(words)
    writer.add_token_scores([0.5] * len(words))
    writer.add_array("llama.attention.head_count_kv", [4, 8, 0, 2])
    writer.add_array("general.tags", ["", "chat"])
    writer.add_context_length(77)
    writer.add_tensor("output.weight", np.zeros((2, 32), np.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        write()
    header = read_header(path)
    assert header.context == 77
    assert header.kv_heads == 8
    agree(header, path)


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_read_alike(version: int, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    architecture = key("general.architecture", 8, text("llama"))
    path.write_bytes(raw_file([architecture], [tensor("output.weight", (32, 2))], version=version, data=256))
    assert read_header(path).parameters == 64


def test_an_alignment_of_its_own_moves_the_data(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    alignment = key("general.alignment", 4, struct.pack("<I", 4096))
    path.write_bytes(raw_file([alignment], [tensor("output.weight", (32, 2))]).ljust(4096 + 256, b"\0"))
    assert read_header(path).tensor_bytes == 256
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EngineError, match="ends early, 1 B"):
        read_header(path)


def test_foreign_words_are_made_harmless(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", {"output.weight": ((2, 32), F32)}, texts={"general.name": "a\x1b]52;c;\x07\nb" + "x" * 5000})
    name = read_header(path).name
    assert name.startswith("a^[]52;c;^G b")
    assert len(name) <= 200
