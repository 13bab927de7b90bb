"""Vocabularies and templates of GGUF files in full, and conversions' view of a file."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import pytest
from models.conftest import F32, key, raw_file, tensor, text, write_model

from synaptic.errors import EngineError
from synaptic.models.gguf import read_content
from synaptic.models.gguf_convert import convertible

DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo-q4_0.gguf"
STRING, ARRAY = 8, 9


def array(kind: int, count: int, values: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + values


def test_the_demos_vocabulary_is_read_whole() -> None:
    judge = gguf.GGUFReader(DEMO)
    whole = read_content(DEMO, ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.chat_template", "no.such.key")).whole
    assert set(whole) == {"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.chat_template"}
    for name in ("tokenizer.ggml.tokens", "tokenizer.ggml.scores"):
        field = judge.get_field(name)
        assert field is not None
        assert [each.decode() if isinstance(each, bytes) else each for each in whole[name]] == field.contents()


def test_long_and_odd_values(tmp_path: Path) -> None:
    numbers = struct.pack("<100000f", *range(100_000))
    keys = [key("a", ARRAY, array(6, 100_000, numbers)), key("b", STRING, text("x" * 5000)), key("c", 4, struct.pack("<I", 7))]
    keys += [key("d", ARRAY, array(STRING, 2, text(b"\xff\xfe") + text("")))]
    (tmp_path / "m.gguf").write_bytes(raw_file(keys, []))
    content = read_content(tmp_path / "m.gguf", "abcd")
    assert content.whole == {"a": tuple(map(float, range(100_000))), "b": b"x" * 5000, "c": (7,), "d": (b"\xff\xfe", b"")}
    assert content.keys == dict.fromkeys("abcd")


LIES = {
    "numbers without end": (key("a", ARRAY, array(6, 2**61, b"1234")), "ends early"),
    "texts without end": (key("a", ARRAY, array(STRING, 2**60, text("x"))), "ends early"),
    "a text without end": (key("a", ARRAY, array(STRING, 1, struct.pack("<Q", 2**40) + b"x")), "claims a string of"),
    "an unknown kind": (key("a", ARRAY, array(77, 1, b"1")), "unknown type 77"),
    "an array of arrays": (key("a", ARRAY, array(ARRAY, 1, array(6, 1, b"1234"))), "unknown type 9"),
    "the same twice": (key("a", 4, b"1234") * 2, "twice"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused(lie: str, tmp_path: Path) -> None:
    content, sentence = LIES[lie]
    (tmp_path / "m.gguf").write_bytes(raw_file([content, *([b""] if lie == "the same twice" else [])], []))
    with pytest.raises(EngineError, match=sentence):
        read_content(tmp_path / "m.gguf", ("a",))


def test_the_bytes_of_a_tensor_are_where_it_says(tmp_path: Path) -> None:
    tensors = [tensor("one", (4,), offset=0), tensor("two", (2, 3), offset=32)]
    raw = raw_file([key("general.architecture", STRING, text("llama"))], tensors, data=56)
    (tmp_path / "m.gguf").write_bytes(raw[:-56] + bytes(range(56)))
    with convertible(tmp_path / "m.gguf") as source:
        assert {name: (each.shape, each.size) for name, each in source.tensors.items()} == {"one": ((4,), 16), "two": ((3, 2), 24)}
        assert source.tensors["two"].read(4, 8) == bytes(range(36, 44))
        (tmp_path / "m.gguf").write_bytes(raw[:-10])
        with pytest.raises(EngineError, match="it became shorter while it was read"):
            source.tensors["two"].read(0, 24)


def test_no_file_and_no_model(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="there is no file"), convertible(tmp_path / "none.gguf"):
        pass
    with convertible(write_model(tmp_path / "m.gguf", {"a": ((2, 3), F32)})) as source:
        assert source.architecture == "llama"
        assert source.tensors["a"].shape == (2, 3)
