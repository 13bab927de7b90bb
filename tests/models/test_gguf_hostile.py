"""A file that lies, ends early or is none: one plain sentence, at once, and no memory by a size it claims."""

from __future__ import annotations

import contextlib
import os
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.conftest import F32, key, raw_file, tensor, text, write_model

from synaptic.errors import EngineError
from synaptic.models.gguf import read_header
from synaptic.terminal import visible

DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo-q4_0.gguf"
HEADER = DEMO.read_bytes()[:19_808]
U32, U64 = struct.Struct("<I").pack, struct.Struct("<Q").pack
ARRAY, STRING = 9, 8


def refused(path: Path) -> str:
    with pytest.raises(EngineError) as caught:
        read_header(path)
    sentence = str(caught.value)
    assert visible(path.name) in sentence
    assert "\n" not in sentence
    return sentence


LIES = {
    "no GGUF": (b"GGML" + bytes(100), "is not a GGUF file"),
    "three bytes": (b"GGU", "is not a GGUF file"),
    "nothing": (b"", "is empty"),
    "only the magic": (b"GGUF", "ends early"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "big-endian"),
    "version 1": (raw_file([], [], version=1), "version 1"),
    "version 4": (raw_file([], [], version=4), "version 4"),
    "2^62 tensors": (b"GGUF" + struct.pack("<IQQ", 3, 2**62, 0), f"claims {2**62} tensors"),
    "2^62 keys": (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**62), f"claims {2**62} keys"),
    "51 bytes, an array of 2^63": (raw_file([key("a.b", ARRAY, U32(4) + U64(2**63))], [])[:51], f"an array of {2**63} values"),
    "the same, cut to 43 bytes": (raw_file([key("a.b", ARRAY, U32(4) + U64(2**63))], [])[:43], "ends early"),
    "an array of 2^63 strings": (raw_file([key("a", ARRAY, U32(STRING) + U64(2**63))], []), f"an array of {2**63} values"),
    "an array that goes on": (raw_file([key("a", ARRAY, U32(4) + U64(1000))], []), "ends early"),
    "a string in an array, of 2^64": (raw_file([key("a", ARRAY, U32(STRING) + U64(1) + U64(2**64 - 1))], []), "ends early"),
    "a string of 2^40": (raw_file([key("a", STRING, U64(2**40))], []), f"a string of {2**40} bytes"),
    "a name of 2^40": (raw_file([U64(2**40)], []), f"a string of {2**40} bytes"),
    "nested arrays": (raw_file([key("a", ARRAY, U32(ARRAY) + U64(1) + U32(4) + U64(1) + U32(0))], []), "array of the unknown type 9"),
    "a value of no type": (raw_file([key("a", 13, bytes(8))], []), "unknown type 13"),
    "a key twice": (raw_file([key("a", 4, U32(1)), key("a", 4, U32(2))], []), "the key a twice"),
    "a tensor twice": (raw_file([], [tensor("t", (1,)), tensor("t", (1,))], data=64), "two tensors called t"),
    "2^32-1 dimensions": (raw_file([], [text("t") + U32(2**32 - 1)]), f"a tensor of {2**32 - 1} dimensions"),
    "more elements than 2^63": (raw_file([], [tensor("t", (2**40, 2**40))]), "claims a F32 tensor"),
    "no elements": (raw_file([], [tensor("t", (4, 0))]), "claims a F32 tensor"),
    "half a block": (raw_file([], [tensor("t", (33,), kind=2)], data=64), "claims a Q4_0 tensor"),
    "a tensor of no type": (raw_file([], [tensor("t", (1,), kind=99)]), "the type 99"),
    "data far away": (raw_file([], [tensor("t", (1,), offset=2**63)]), "claims data at"),
    "data beyond the end": (raw_file([], [tensor("t", (256,))], data=24), "ends early, 1000 B are missing: is the download complete?"),
    "data between the lines": (raw_file([], [tensor("t", (1,), offset=1)], data=64), "not aligned"),
    "the same data many times": (raw_file([], [tensor(f"t{n}", (8,)) for n in range(9)], data=32), "claims tensors that overlap"),
    "alignment 0": (raw_file([key("general.alignment", 4, U32(0))], []), "no power of two"),
    "alignment of words": (raw_file([key("general.alignment", STRING, text("x"))], []), "no power of two"),
    "layers without end": (
        raw_file([key("general.architecture", STRING, text("a")), key("a.block_count", 4, U32(2**32 - 1))], []),
        "claims a.block_count",
    ),
    "layers in words": (
        raw_file([key("general.architecture", STRING, text("a")), key("a.block_count", STRING, text("\x1b[2J"))], []),
        r"claims a.block_count = ^[[2J",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused_in_one_sentence(lie: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    content, sentence = LIES[lie]
    path.write_bytes(content)
    assert sentence in refused(path)


def test_what_is_no_file_is_said_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    assert "is not a regular file" in refused(tmp_path / "fifo")
    assert "is not a regular file" in refused(Path("/dev/zero"))
    assert "is a folder" in refused(tmp_path)
    assert "symbolic links" in refused(tmp_path / "loop")
    assert "there is no file" in refused(tmp_path / "vanished")
    assert "no name a file can have" in refused(tmp_path / "nul\0.gguf")
    assert "too long" in refused(tmp_path / ("x" * 300))


def test_a_header_without_end_is_given_up_after_16_mib(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    word = b"x" * 1_000_000
    path.write_bytes(raw_file([key(f"k{number}", STRING, text(word)) for number in range(20)], []))
    assert "a header of more than 16 MiB" in refused(path)


def test_long_skips_count_as_reading(tmp_path: Path) -> None:
    """A sparse file is free to write and would take minutes to step through."""
    path = tmp_path / "m.gguf"
    pieces = [key(f"k{number}", ARRAY, U32(0) + U64(100_000)) for number in range(1000)]
    with path.open("wb") as file:
        file.write(raw_file([], [])[:16] + U64(len(pieces)))
        for piece in pieces:
            file.write(piece)
            file.seek(100_000, os.SEEK_CUR)
        file.truncate(file.tell())
    assert "a header of more than 16 MiB" in refused(path)


@pytest.mark.parametrize("kind", ["texts", "tensors", "empty strings"])
def test_the_worst_file_takes_little_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    content = {
        "texts": lambda: raw_file([key(f"k{n}", STRING, text("🦙" * 250_000)) for n in range(15)], []),
        "tensors": lambda: raw_file([], [tensor(f"blk.{n}.weight", (8,), offset=n * 32) for n in range(100_000)], data=3_200_000),
        "empty strings": lambda: raw_file([key("a", ARRAY, U32(STRING) + U64(1_900_000) + bytes(8 * 1_900_000))], []),
    }[kind]()
    path.write_bytes(content)
    del content
    tracemalloc.start()
    try:
        read_header(path)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_every_cut_of_a_header_ends_early(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", {"output.weight": ((2, 32), F32)}, texts={"general.name": "cut"})
    whole = path.read_bytes()
    for length in range(4, len(whole)):
        path.write_bytes(whole[:length])
        assert "ends early" in refused(path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "m.gguf"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(HEADER) - 1), st.binary(min_size=1, max_size=8)), max_size=30),
    length=st.integers(0, len(HEADER)),
    whole=st.booleans(),
)
def test_no_mutation_raises_anything_else(scratch: Path, changes: list[tuple[int, bytes]], length: int, whole: bool) -> None:
    content = bytearray(HEADER)
    for at, bytes_there in changes:
        content[at : at + len(bytes_there)] = bytes_there
    scratch.write_bytes(content + bytes(1_618_944) if whole else content[:length])
    with contextlib.suppress(EngineError):
        assert read_header(scratch).file_bytes == len(scratch.read_bytes())
