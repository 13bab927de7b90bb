"""Where tensors lie, and what each node gets of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from dllama.synthetic import KINDS, write_model

from synaptic.dllama.header import DllamaHeader, NotAModelError, read_header
from synaptic.dllama.layout import Cut, Slice, Tensor, bytes_of, kv_bytes, slice_of, tensors, uncuttable, weight_bytes

DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo-q40.m"


@pytest.fixture(params=KINDS)
def header(request: pytest.FixtureRequest, tmp_path: Path) -> DllamaHeader:
    return read_header(write_model(tmp_path / "m.m", request.param))


def test_tensors_follow_one_another_to_the_end_of_the_file(header: DllamaHeader) -> None:
    found = tensors(header)
    assert found[0].offset == header.header_bytes
    assert [each.offset + each.bytes for each in found] == [*(each.offset for each in found[1:]), header.file_bytes]


def test_the_order_of_a_layer() -> None:
    layer = [each for each in tensors(read_header(DEMO)) if each.index == 2 and each.name.startswith("block")]
    names = ["matmul_q", "matmul_k", "matmul_v", "matmul_wo", "matmul_w1", "matmul_w2", "matmul_w3", "norm_0", "norm_1"]
    assert [each.name for each in layer] == [f"block_{name}" for name in names]


def test_the_order_of_experts_and_head_norms(tmp_path: Path) -> None:
    layer = [each for each in tensors(read_header(write_model(tmp_path / "m.m", "qwen3moe"))) if each.index == 1]
    assert [each.name.removeprefix("block_") for each in layer][3:9] == [
        "matmul_wo",
        "moe_gate",
        *("matmul_w1", "matmul_w2", "matmul_w3", "matmul_w1"),
    ]
    assert [each.name.removeprefix("block_") for each in layer][-4:] == ["norm_q", "norm_k", "norm_0", "norm_1"]
    assert [each.expert for each in layer if each.name == "block_matmul_w2"] == [0, 1, 2, 3]


@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_the_slices_of_all_nodes_are_the_tensor(header: DllamaHeader, nodes: int) -> None:
    for tensor in tensors(header):
        slices = [slice_of(tensor, node, nodes) for node in range(nodes)]
        covered = [part.start + run * part.stride + at for part in slices if part for run in range(part.runs) for at in range(part.run)]
        every = list(range(tensor.offset, tensor.offset + tensor.bytes))
        if tensor.cut is Cut.WHOLE:
            assert covered == every * nodes
        elif tensor.cut is Cut.ROOT:
            assert slices[1:] == [None] * (nodes - 1)
            assert covered == every
        else:
            assert sorted(covered) == every


def test_rows_are_contiguous_and_columns_are_not() -> None:
    rows = Tensor("block_matmul_q", 0, "Q40", 8, 64, 1000, Cut.ROWS)
    columns = Tensor("block_matmul_wo", 0, "Q40", 8, 64, 1000, Cut.COLUMNS)
    assert slice_of(rows, 1, 2) == Slice(1000 + 4 * 36, 4 * 36, 1, 4 * 36, 0)
    assert slice_of(columns, 1, 2) == Slice(1000 + 18, 18, 8, 36, 0)


def test_experts_follow_one_another_in_the_operation() -> None:
    third = Tensor("block_matmul_w1", 0, "F32", 8, 64, 1000, Cut.ROWS, expert=2)
    assert [part.at for node in (0, 1) if (part := slice_of(third, node, 2))] == [2 * 1024, 2 * 1024]


def test_bytes_per_node() -> None:
    header = read_header(DEMO)
    assert weight_bytes(header, 0, 1) == header.file_bytes - header.header_bytes
    norms, embedding = 4 * 256 * 9, 4 * 768 * 256
    parts = [weight_bytes(header, node, 4) for node in range(4)]
    assert parts[1:] == parts[1:2] * 3
    assert parts[0] == parts[1] + embedding
    assert sum(parts) == weight_bytes(header, 0, 1) + 3 * norms
    assert (kv_bytes(header, 1), kv_bytes(header, 4, 128)) == (2 * 4 * 512 * 4 * 128, 2 * 4 * 128 * 4 * 32)
    assert kv_bytes(header, 1, 10_000) == kv_bytes(header, 1)


def test_into_how_many_nodes_a_model_can_be_cut(tmp_path: Path) -> None:
    demo = read_header(DEMO)
    assert [nodes for nodes in range(1, 9) if uncuttable(demo, nodes) is None] == [1, 2, 4]
    assert uncuttable(demo, 8) == "has 4 KV heads, too few for 8 nodes"
    assert uncuttable(demo, 3) == "has 8 heads and 4 KV heads, which do not divide by 3"
    three = read_header(write_model(tmp_path / "m.m", "llama-f32", heads=6, kv_heads=3, dim=96, head_dim=16, hidden=192, vocab=768))
    assert uncuttable(three, 3) is None
    narrow = read_header(write_model(tmp_path / "n.m", "llama", hidden=96))
    assert uncuttable(narrow, 2) == "has rows of 48 values, which are no whole blocks of Q40"


def test_what_no_file_can_have_is_refused(tmp_path: Path) -> None:
    header = read_header(write_model(tmp_path / "m.m"))
    with pytest.raises(NotAModelError, match="claims 100000 layers"):
        tensors(dataclasses.replace(header, layers=100_000))
    with pytest.raises(NotAModelError, match="no whole blocks"):
        tensors(dataclasses.replace(header, dim=100))
    with pytest.raises(NotAModelError, match="empty tensor"):
        tensors(dataclasses.replace(header, vocabulary=0))
    with pytest.raises(NotAModelError, match="no whole blocks"):
        bytes_of("Q80", 33)
    with pytest.raises(ValueError, match="no node 2 of 2"):
        slice_of(tensors(header)[0], 2, 2)
