"""GGUF models as .m and .t files: the same weights under the names of distributed-llama, or a sentence."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from dllama.ggufs import HEAD_DIM, SPECIALS, byte_bpe, write_gguf
from models.conftest import F32, write_model

from synaptic.dllama.chat import Template
from synaptic.dllama.convert.convert import Conversion, convert, prepare
from synaptic.dllama.convert.source import CannotConvertError, Source, SourceTensor
from synaptic.dllama.convert.vocabulary import Converted
from synaptic.dllama.convert.weights import Weights
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.quants import dequantize_q40, quantize_q40
from synaptic.dllama.tokenizer_file import read_vocabulary
from synaptic.models.gguf_convert import convertible

DEMO = Path(__file__).parents[2] / "config" / "demo"
ROPE_FACTORS = "rope_freqs.weight"


def converted(source: Path, kind: str, progress: Callable[[int], None] = lambda _: None) -> tuple[ModelFile, Conversion]:
    target = source.with_name(f"{source.stem}-{kind}.m")
    with convertible(source) as content:
        conversion = prepare(content, kind)
        convert(conversion, target, target.with_suffix(".t"), progress)
    return ModelFile(target), conversion


def judged(path: Path) -> dict[str, np.ndarray]:
    return {
        each.name: np.asarray(gguf.quants.dequantize(each.data, each.tensor_type), np.float32) for each in gguf.GGUFReader(path).tensors
    }


def changed(path: Path, change: Callable[[Source], Source]) -> DllamaHeader:
    with convertible(path) as source:
        return prepare(change(source), "F32").header


def refusal(path: Path, change: Callable[[Source], Source] = lambda source: source, kind: str = "F32") -> str:
    with convertible(path) as source, pytest.raises(CannotConvertError) as caught:
        prepare(change(source), kind)
    return str(caught.value)


def test_the_demo_becomes_the_files_that_ship(tmp_path: Path) -> None:
    read: list[int] = []
    (tmp_path / "demo.gguf").symlink_to(DEMO / "demo-q4_0.gguf")
    model, conversion = converted(tmp_path / "demo.gguf", "Q40", read.append)
    assert model.path.read_bytes() == (DEMO / "demo-q40.m").read_bytes()
    assert model.path.with_suffix(".t").read_bytes() == (DEMO / "demo.t").read_bytes()
    assert sum(read) == conversion.read_bytes
    assert (conversion.is_lossless, conversion.template) == (True, Template.LLAMA3)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "qwen3moe"])
@pytest.mark.parametrize("stored", ["F32", "F16", "Q8_0", "Q4_0"])
def test_every_tensor_has_the_values_it_had(architecture: str, stored: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", architecture, stored)
    model, conversion = converted(path, "F32")
    judge = judged(path)
    assert conversion.is_lossless
    assert (model.header.architecture, model.header.rope_type) == (architecture, 0 if architecture == "llama" else 1)
    names = {"matmul_q": "attn_q", "matmul_wo": "attn_output", "matmul_w1": "ffn_gate", "matmul_w2": "ffn_down", "matmul_w3": "ffn_up"}
    names |= {"matmul_k": "attn_k", "matmul_v": "attn_v", "norm_0": "attn_norm", "norm_1": "ffn_norm", "moe_gate": "ffn_gate_inp"}
    names |= {"norm_q": "attn_q_norm", "norm_k": "attn_k_norm"}
    outside = {"embedding": "token_embd", "final_norm": "output_norm", "final_matmul_logits": "output"}
    for tensor in model.tensors:
        name = outside.get(tensor.name) or f"blk.{tensor.index}.{names[tensor.name.removeprefix('block_')]}"
        wanted = judge[f"{name}.weight"] if f"{name}.weight" in judge else judge[f"{name}_exps.weight"][tensor.expert]
        np.testing.assert_array_equal(model.values(tensor), np.atleast_2d(wanted))
    assert len(model.tensors) == sum(max(len(value), 1) if "_exps" in name else 1 for name, value in judge.items())


@pytest.mark.parametrize("stored", ["F32", "F16", "Q8_0", "Q4_0"])
def test_q40_is_as_the_converter_of_distributed_llama_rounds(stored: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", "qwen3", stored)
    model, conversion = converted(path, "Q40")
    for layer in range(2):
        wanted = judged(path)[f"blk.{layer}.ffn_down.weight"]
        if stored != "Q4_0":
            wanted = dequantize_q40(quantize_q40(wanted))
        np.testing.assert_array_equal(model.values(model.tensor("block_matmul_w2", layer)), wanted)
    assert conversion.is_lossless is (stored == "Q4_0")


def test_large_tensors_go_through_in_pieces(tmp_path: Path) -> None:
    model, conversion = converted(write_gguf(tmp_path / "m.gguf", "qwen3moe", "F16"), "Q40")
    read: list[int] = []
    with convertible(tmp_path / "m.gguf") as source:
        content = Weights(source, conversion.header, progress=read.append, piece=300)
        for tensor in model.tensors:
            assert b"".join(content(tensor)) == model.raw(tensor).tobytes()
    assert max(read) <= 300 * 4
    assert sum(read) == conversion.read_bytes


def test_a_model_in_several_files(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", "llama", "Q8_0")
    with convertible(path) as source:
        names = list(source.tensors)
    _split(path, tmp_path, names)
    first = tmp_path / "s-00001-of-00002.gguf"
    assert converted(first, "F32")[0].path.read_bytes() == converted(path, "F32")[0].path.read_bytes()


def test_an_embedding_that_is_used_twice(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", "qwen3", "Q8_0")

    def tied(source: Source) -> Source:
        return dataclasses.replace(source, tensors={name: each for name, each in source.tensors.items() if name != "output.weight"})

    with convertible(path) as source:
        convert(prepare(tied(source), "F32"), tmp_path / "m.m", tmp_path / "m.t", lambda _: None)
    model = ModelFile(tmp_path / "m.m")
    np.testing.assert_array_equal(model.values(model.tensor("final_matmul_logits")), model.values(model.tensor("embedding")))


def test_tokens_that_are_renumbered_take_their_rows_along(tmp_path: Path) -> None:
    """As with Llama 2, whose first tokens are special."""
    path = write_gguf(tmp_path / "m.gguf", "llama")
    plain, order = converted(path, "F32")[0], [5, 6, 7, 0, 1, 2, 3, 4, *range(8, len(byte_bpe()[0]) + len(SPECIALS))]
    with convertible(path) as source:
        conversion = prepare(source, "F32")
        moved = dataclasses.replace(conversion, converted=Converted(conversion.converted.vocabulary, tuple(order)))
        convert(moved, tmp_path / "moved.m", tmp_path / "moved.t", lambda _: None)
    other = ModelFile(tmp_path / "moved.m")
    for name in ("embedding", "final_matmul_logits"):
        np.testing.assert_array_equal(other.values(other.tensor(name)), plain.values(plain.tensor(name))[order])
    np.testing.assert_array_equal(other.raw(other.tensor("final_norm")), plain.raw(plain.tensor("final_norm")))


def with_factors(factors: list[float]) -> Callable[[Source], Source]:
    raw = struct.pack(f"<{len(factors)}f", *factors)
    tensor = SourceTensor(ROPE_FACTORS, "F32", (len(factors),), len(raw), lambda offset, count: raw[offset : offset + count])
    return lambda source: dataclasses.replace(source, tensors={**source.tensors, ROPE_FACTORS: tensor})


def test_llama_3_1s_scaling_is_found_in_its_factors(tmp_path: Path) -> None:
    """The factors of Llama 3.1 for heads of 32, worked out by hand for the waves at both ends, and in between."""
    path = write_gguf(tmp_path / "m.gguf", "llama", rope__freq_base=500000.0)
    waves = [2 * np.pi * 500000 ** (index / HEAD_DIM) for index in range(0, HEAD_DIM, 2)]
    smooth = [(8192 / wave - 1) / 3 for wave in waves]
    factors = [1.0 if part > 1 else 8.0 if part < 0 else 1 / ((1 - part) / 8 + part) for part in smooth]
    assert {1.0, 8.0} < set(factors)
    header = changed(path, with_factors(factors))
    found = (header.rope_scaling, header.rope_low_frequency, header.rope_high_frequency, header.rope_original_context, header.rope_type)
    assert found == (8, 1, 4, 8192, 2)
    assert changed(path, with_factors([1.0] * 16)).rope_scaling == 1
    assert refusal(path, with_factors([1.0] * 15 + [3.3])).startswith("stretches its context")


def test_what_distributed_llama_cannot_run_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", "llama")
    assert refusal(_variant(tmp_path, attention__layer_norm_rms_epsilon=1e-3)).startswith("has the norm epsilon 0.001")
    assert (
        refusal(_variant(tmp_path, rope__freq_base=10000.5)) == "has llama.rope.freq_base = 10000.5, and .m files hold whole numbers only"
    )
    assert refusal(_variant(tmp_path, attention__value_length=64)) == "has llama.attention.value_length other than its heads' 32"
    assert refusal(_variant(tmp_path, expert_count=8)).startswith("is a mixture of experts of a kind")
    assert refusal(_variant(tmp_path, rope__scaling__factor=4.0), _yarn).startswith("stretches its context")
    assert refusal(_variant(tmp_path, feed_forward_length=256)).startswith("has a tensor of the shape (192, 128), and not (256, 128)")
    assert refusal(_variant(tmp_path, block_count=3)) == "has no tensor blk.2.attn_q.weight"
    assert refusal(_variant(tmp_path, block_count=1)) == "has a tensor that distributed-llama has no place for: blk.1.attn_k.weight"
    assert refusal(path, lambda source: _renamed(source, "gemma3")) == (
        "is a model of the kind gemma3, and distributed-llama runs llama, qwen3, qwen3moe only"
    )
    odd = write_model(tmp_path / "odd.gguf", {"token_embd.weight": ((96, 64), F32)}, "llama", layers=1)
    assert refusal(odd) == "does not say its llama.attention.head_count"


def test_weights_that_are_no_numbers_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", "llama", "F16")
    raw = bytearray(path.read_bytes())
    raw[-4:-2] = struct.pack("<H", 0x7C00)  # infinite
    path.write_bytes(raw)
    with pytest.raises(CannotConvertError, match=r"has weights that are no numbers: blk\.1\.ffn_up\.weight"):
        converted(path, "Q40")
    assert [each.name for each in tmp_path.iterdir()] == ["m.gguf"]


def test_whoever_ends_it_leaves_nothing(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise InterruptedError

    path = write_gguf(tmp_path / "m.gguf", "llama")
    with pytest.raises(InterruptedError):
        converted(path, "Q40", stop)
    assert [each.name for each in tmp_path.iterdir()] == ["m.gguf"]


def test_the_tokenizer_goes_with_it(tmp_path: Path) -> None:
    tokens, _ = byte_bpe()
    model, conversion = converted(write_gguf(tmp_path / "m.gguf", "qwen3"), "F32")
    found = read_vocabulary(model.path.with_suffix(".t"))
    assert found == conversion.converted.vocabulary
    assert (found.begin, found.tokens[found.begin :]) == (len(tokens), tuple(special.encode() for special in SPECIALS))
    assert conversion.template is Template.CHATML


def _variant(folder: Path, **change: float) -> Path:
    return write_gguf(folder / "variant.gguf", "llama", **change)


def _yarn(source: Source) -> Source:
    return dataclasses.replace(source, values={**source.values, "llama.rope.scaling.type": "yarn"})


def _renamed(source: Source, name: str) -> Source:
    return dataclasses.replace(source, values={**source.values, "general.architecture": name})


def _split(path: Path, folder: Path, names: list[str]) -> None:
    """Two files by the reference writer: keys and half of the tensors, the other half."""
    reader = gguf.GGUFReader(path)
    for number, share in enumerate((names[:9], names[9:])):
        writer = gguf.GGUFWriter(folder / f"s-{number + 1:05}-of-00002.gguf", "llama")
        for name, field in reader.fields.items():
            if number == 0 and not name.startswith(("GGUF.", "general.architecture")):
                kinds = field.types
                writer.add_key_value(name, field.contents(), kinds[0], sub_type=kinds[-1] if len(kinds) > 1 else None)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        for tensor in reader.tensors:
            if tensor.name in share:
                writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
