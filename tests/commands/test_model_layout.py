"""Where the tensors of a .m file lie, and the bytes per node, as `model show` tells them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from dllama.synthetic import write_model

from synaptic.commands.model_layout import Cluster, Place, header_facts, layout_of
from synaptic.dllama.header import read_header
from synaptic.errors import EngineError
from synaptic.results import to_json

DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo-q40.m"


def test_the_demo() -> None:
    header = read_header(DEMO)
    layout = layout_of(header, "demo")
    assert layout.tensors[0] == Place("embedding", False, "F32", 768, 256, 136, 786432, "root only")
    assert layout.tensors[4].offset == 786568 + 36864 + 2 * 18432
    assert [place.tensor for place in layout.tensors][-3:] == ["block_norm_1", "final_norm", "final_matmul_logits"]
    assert layout.clusters == (
        Cluster(1, header.file_bytes - 136, 0, 2 * 4 * 512 * 4 * 128),
        Cluster(2, 1403904, 617472, 4 * 512 * 4 * 128),
        Cluster(4, 1099776, 313344, 2 * 512 * 4 * 128),
    )


def test_it_is_shown_and_told() -> None:
    layout = layout_of(read_header(DEMO), "demo")
    (_, places), (_, clusters) = layout.tables
    assert [cell.text for cell in places.cells()[0]] == ["embedding", "F32", "768 × 256", "136", "786432", "root only"]
    assert [cell.text for cell in clusters.cells()[1]] == ["2", "1.3 MiB", "603 KiB", "1 MiB more"]
    document = to_json(layout.record)
    assert isinstance(document, dict)
    assert document["layer_stride"] == read_header(DEMO).bytes_per_layer
    assert json.loads(json.dumps(document))["clusters"][1] == {"nodes": 2, "root_weights": 1403904, "worker_weights": 617472, "kv": 1048576}


def test_the_header_in_words() -> None:
    facts = dict(header_facts(read_header(DEMO)))
    assert facts["width"] == "256, heads of 32"
    assert facts["rope"] == "pairs side by side, base 10000"
    assert (facts["norm epsilon"], facts["header"], facts["feed forward"]) == ("1e-05", "136 bytes", "384")
    scaled = dataclasses.replace(read_header(DEMO), rope_scaling=8, rope_original_context=8192, rope_type=2, experts=4, moe_hidden_dim=64)
    assert dict(header_facts(scaled))["rope"] == "pairs side by side, scaled as in Llama 3.1, base 10000, for contexts 8 times 8192"
    assert dict(header_facts(scaled))["feed forward"] == "4 of 64, 0 used"


def test_experts_are_told_once(tmp_path: Path) -> None:
    layout = layout_of(read_header(write_model(tmp_path / "m.m", "qwen3moe")), "m")
    assert [(place.tensor, place.count) for place in layout.tensors if place.tensor.startswith("block_matmul_w")] == [
        ("block_matmul_wo", 1),
        *((f"block_matmul_w{number}", 4) for number in (1, 2, 3)),
    ]
    ((_, places), _) = layout.tables
    assert "block_matmul_w1 × 4" in [row[0].text for row in places.cells()]


def test_a_shape_that_cannot_be() -> None:
    with pytest.raises(EngineError, match="bad has rows of 257 values, which are no whole blocks of Q40"):
        layout_of(dataclasses.replace(read_header(DEMO), dim=257), "bad")
