"""A model in several files is one model; a missing file is named."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from models.conftest import key, raw_file, tensor, text

from synaptic.errors import EngineError
from synaptic.models.split import name_of, read_whole

U16, U32 = struct.Struct("<H").pack, struct.Struct("<I").pack


def write_parts(folder: Path, count: int = 3, stem: str = "big") -> Path:
    """Each file holds one layer of 32 values; only the first says what the model is."""
    for number in range(count):
        keys = [key("split.no", 2, U16(number)), key("split.count", 2, U16(count))]
        if number == 0:
            keys += [key("general.architecture", 8, text("llama")), key("llama.block_count", 4, U32(count))]
        tensors = [tensor(f"blk.{number}.attn_q.weight", (32,))]
        (folder / f"{stem}-{number + 1:05}-of-{count:05}.gguf").write_bytes(raw_file(keys, tensors, data=128))
    return folder / f"{stem}-00001-of-{count:05}.gguf"


def test_the_whole_is_the_sum_of_its_files(tmp_path: Path) -> None:
    first = write_parts(tmp_path)
    whole = read_whole(first)
    assert (whole.parameters, whole.layers, whole.tensors, whole.split_count) == (96, 3, 3, 3)
    assert whole.bytes_per_layer == (128, 128, 128)
    assert whole.file_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert whole.active_parameters == 96


@pytest.mark.parametrize("gone", [2, 3])
def test_a_missing_file_is_named(gone: int, tmp_path: Path) -> None:
    first = write_parts(tmp_path)
    (tmp_path / f"big-0000{gone}-of-00003.gguf").unlink()
    with pytest.raises(EngineError, match=f"no file .*big-0000{gone}-of-00003") as caught:
        read_whole(first)
    assert caught.value.hint == "the model has 3 files: is the download complete?"


def test_a_later_file_is_not_the_model(tmp_path: Path) -> None:
    write_parts(tmp_path)
    with pytest.raises(EngineError, match="is file 2 of 3") as caught:
        read_whole(tmp_path / "big-00002-of-00003.gguf")
    assert caught.value.hint == "name the first one"


def test_a_renamed_first_file_cannot_find_the_others(tmp_path: Path) -> None:
    other = write_parts(tmp_path).rename(tmp_path / "mine.gguf")
    with pytest.raises(EngineError, match="first of 3 files"):
        read_whole(other)


def test_names() -> None:
    assert name_of(Path("/a/big-00001-of-00003.gguf")) == "big"
    assert name_of(Path("/a/big-00002-of-00003.gguf")) is None
    assert name_of(Path("/a/llama-7b.Q4_K_M.gguf")) == "llama-7b.Q4_K_M"
