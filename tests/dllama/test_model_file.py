"""A model in memory: the bytes of the file, its values, and that a written file is what is read."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from dllama.synthetic import KINDS, write_model

from synaptic.dllama.header import DllamaHeader, read_header
from synaptic.dllama.layout import Tensor
from synaptic.dllama.model_file import ModelFile, floats
from synaptic.dllama.model_writer import appearing, pack_header, sized
from synaptic.dllama.model_writer import write_model as write

DEMO = Path(__file__).parents[2] / "config" / "demo"


@pytest.fixture
def demo() -> Iterator[ModelFile]:
    opened = ModelFile(DEMO / "demo-q40.m")
    yield opened
    opened.close()


def test_its_values_are_those_of_the_same_model_for_llama_cpp(demo: ModelFile) -> None:
    judge = {
        each.name: np.asarray(gguf.quants.dequantize(each.data, each.tensor_type))
        for each in gguf.GGUFReader(DEMO / "demo-q4_0.gguf").tensors
    }
    for name, index, other in (("embedding", 0, "token_embd"), ("block_matmul_k", 3, "blk.3.attn_k"), ("final_matmul_logits", 0, "output")):
        np.testing.assert_array_equal(demo.values(demo.tensor(name, index)), judge[f"{other}.weight"])
    np.testing.assert_array_equal(demo.values(demo.tensor("block_norm_1", 2))[0], judge["blk.2.ffn_norm.weight"])


def test_what_a_node_gets_is_cut_out_of_the_file_without_a_copy(demo: ModelFile) -> None:
    rows, columns = demo.tensor("block_matmul_v", 1), demo.tensor("block_matmul_wo", 1)
    part, strided = demo.slice(rows, 1, 4), demo.slice(columns, 1, 4)
    assert part is not None
    assert strided is not None
    np.testing.assert_array_equal(part.reshape(32, -1), demo.raw(rows)[32:64])
    np.testing.assert_array_equal(strided, demo.raw(columns)[:, 36:72])
    assert np.shares_memory(strided, demo.raw(columns))
    assert not strided.flags.writeable
    assert demo.slice(demo.tensor("embedding"), 1, 4) is None
    at, data = demo.message(columns, 1, 4) or (None, b"")
    assert (at, bytes(data)) == (0, strided.tobytes())


def test_advice_about_pages_changes_no_byte(demo: ModelFile) -> None:
    tensor = demo.tensor("block_matmul_w2", 3)
    before = demo.raw(tensor).copy()
    demo.not_needed(tensor)
    np.testing.assert_array_equal(demo.raw(tensor), before)


def test_what_was_taken_outlives_the_file() -> None:
    opened = ModelFile(DEMO / "demo-q40.m")
    view = opened.raw(opened.tensor("final_norm"))
    opened.close()
    assert view.view(np.float32).mean() > 0


@pytest.mark.parametrize("kind", ["F32", "F16", "Q40", "Q80"])
def test_every_kind_of_values(kind: str) -> None:
    values = np.linspace(-2, 2, 128, dtype=np.float32).reshape(2, 64)
    name = {"Q40": "Q4_0", "Q80": "Q8_0"}.get(kind, kind)
    stored = gguf.quants.quantize(values, gguf.GGMLQuantizationType[name])
    raw = np.ascontiguousarray(stored).view(np.uint8).reshape(2, -1)
    np.testing.assert_array_equal(floats(raw, kind), gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[name]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_written_again_is_the_same(kind: str, tmp_path: Path) -> None:
    with_all = ModelFile(write_model(tmp_path / "m.m", kind))

    def content(tensor: Tensor) -> list[bytes]:
        raw = with_all.raw(with_all.tensor(tensor.name, tensor.index, tensor.expert))
        return [raw[:5].tobytes(), raw[5:].tobytes()]

    write(tmp_path / "again.m", with_all.header, content)
    again = ModelFile(tmp_path / "again.m")
    assert _shape(again.header) == _shape(with_all.header)
    for tensor, same in zip(with_all.tensors, again.tensors, strict=True):
        np.testing.assert_array_equal(with_all.raw(tensor), again.raw(same))


def test_a_header_with_scaling_is_read_as_it_was_written(tmp_path: Path) -> None:
    plain = read_header(write_model(tmp_path / "m.m"))
    scaled = {"rope_scaling": 8, "rope_low_frequency": 1, "rope_high_frequency": 4, "rope_original_context": 8192, "rope_type": 2}
    header = sized(dataclasses.replace(plain, **scaled, rope_theta=500_000, norm_epsilon=1e-6))
    (tmp_path / "s.m").write_bytes(pack_header(header) + bytes(header.file_bytes - header.header_bytes))
    assert read_header(tmp_path / "s.m") == header
    with pytest.raises(ValueError, match=r"rope_theta = 10000\.5"):
        pack_header(dataclasses.replace(plain, rope_theta=10000.5))


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path: Path) -> None:
    demo = ModelFile(DEMO / "demo-q40.m")

    def content(tensor: Tensor) -> Iterator[bytes]:
        yield demo.raw(tensor).tobytes()
        if tensor.index == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        write(tmp_path / "m.m", demo.header, content)
    with pytest.raises(ValueError, match="embedding 0 has 786432 bytes, not 3"):
        write(tmp_path / "m.m", demo.header, lambda _: [b"abc"])
    assert list(tmp_path.iterdir()) == []


def test_the_file_that_was_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "m.t").write_bytes(b"before")
    with contextlib.suppress(InterruptedError), appearing(tmp_path / "m.t") as file:
        file.write(b"aft")
        raise InterruptedError
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def _shape(header: DllamaHeader) -> DllamaHeader:
    return dataclasses.replace(header, header_bytes=0, file_bytes=0)
