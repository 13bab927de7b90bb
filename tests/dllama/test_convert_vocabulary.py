"""Tokenizers of GGUF files as .t files: the order of the tokens, their scores, what ends a text."""

from __future__ import annotations

import dataclasses

import pytest

from synaptic.dllama.convert.source import Array, CannotConvertError, Scalar, Source
from synaptic.dllama.convert.vocabulary import FIRST, NEVER, SHIFT, Kind, vocabulary_of
from synaptic.dllama.tokenizer import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = Kind.NORMAL, Kind.UNKNOWN, Kind.CONTROL, Kind.USER_DEFINED, Kind.UNUSED, Kind.BYTE


def source(model: str, tokens: list[tuple[str, Kind, float]], merges: tuple[str, ...] = (), **values: Scalar) -> Source:
    arrays: dict[str, Array] = {
        "tokenizer.ggml.tokens": tuple(name.encode() for name, _, _ in tokens),
        "tokenizer.ggml.token_type": tuple(int(kind) for _, kind, _ in tokens),
        "tokenizer.ggml.scores": tuple(score for _, _, score in tokens),
        "tokenizer.ggml.merges": tuple(merge.encode() for merge in merges),
    }
    stored: dict[str, Scalar] = {"tokenizer.ggml.model": model} | {f"tokenizer.ggml.{key}": value for key, value in values.items()}
    return Source(stored, {"tokenizer.chat_template": b"[INST]"}, {name: value for name, value in arrays.items() if value}, {})


BYTES = [(f"<0x{byte:02X}>", BYTE, 0.0) for byte in range(256)]
PIECES = [
    ("\u2581", NORMAL, -1.0),
    ("a", NORMAL, -2.0),
    ("\u2581a", NORMAL, -3.0),
    ("é", NORMAL, -9.0),
    ("né", NORMAL, -4.0),
    ("n", NORMAL, -5.0),
    ("€", NORMAL, -7.0),
]
LLAMA2 = [("<unk>", UNKNOWN, 0.0), ("<s>", CONTROL, 0.0), ("</s>", CONTROL, 0.0), *BYTES, *PIECES, ("", UNUSED, 0.0)]


def test_sentencepiece_with_its_special_tokens_first() -> None:
    """As in Llama 2: they go to the end, the one that begins a text before the others."""
    found = vocabulary_of(source("llama", LLAMA2, bos_token_id=1, eos_token_id=2))
    vocabulary, order = found.vocabulary, found.order
    assert order == (*range(3, 266), 1, 0, 2, 266)
    assert vocabulary.tokens[vocabulary.begin :] == (b"<s>", b"<unk>", b"</s>", b"<empty 266>")
    assert (vocabulary.begin, vocabulary.ends, vocabulary.add_begin, vocabulary.template) == (263, (265,), True, b"[INST]")


def test_sentencepiece_begins_as_characters() -> None:
    found = vocabulary_of(source("llama", LLAMA2, bos_token_id=1, eos_token_id=2))
    vocabulary = found.vocabulary
    tokenizer = Tokenizer(vocabulary)

    def spelt(text: str) -> list[bytes]:
        return [vocabulary.tokens[token] for token in tokenizer.encode(text.encode(), start=False).tokens]

    assert spelt("né") == ["né".encode()]
    assert spelt(" a b") == [b" a", b" ", b"b"]
    assert spelt("€") == [b"\xe2", b"\x82", b"\xac"]
    assert found.out_of_reach == 1
    assert vocabulary.scores[vocabulary.tokens.index("é".encode())] == FIRST
    assert tokenizer.encode(b"a", start=False).tokens == (vocabulary.tokens.index(b"a"),)
    assert vocabulary.tokens.count(b"a") == 1  # the byte of the same text is spelt out
    assert b"<0x61>" in vocabulary.tokens


def test_byte_level_tokens_are_spelt_in_bytes() -> None:
    tokens = [(name, NORMAL, 0.0) for name in ("Ġ", "Ċ", "Ã", "©", "a", "Ġa", "Ã©", "!", "!!", "ĠĠ", "aa")]
    tokens += [("Ġspecial", USER, 0.0), ("<|im_end|>", CONTROL, 0.0)]
    found = vocabulary_of(source("gpt2", tokens, ("Ġ a", "! !", "Ã ©", "Ġ Ġ"), bos_token_id=12))
    vocabulary = found.vocabulary
    assert vocabulary.tokens[:11] == (b" ", b"\n", b"\xc3", b"\xa9", b"a", b" a", "é".encode(), b"!", b"!!", b"  ", b"aa")
    assert vocabulary.scores[:11] == (*(NEVER,) * 5, 0.0, -2.0, NEVER, SHIFT - 1, -SHIFT - 3, NEVER)
    assert vocabulary.tokens[11:] == (b"<|im_end|>", "Ġspecial".encode())
    assert (vocabulary.begin, vocabulary.ends, vocabulary.add_begin) == (11, (11,), False)
    tokenizer = Tokenizer(vocabulary)
    assert tokenizer.encode("  aé".encode()).tokens == (0, 5, 6)  # the last space belongs to the word
    assert tokenizer.encode(b"aa").tokens == (4, 4)  # no merge makes it


@pytest.mark.parametrize(
    ("pre", "stored", "adds"), [("qwen2", None, False), ("llama-bpe", None, True), ("llama-bpe", False, False), ("x", True, True)]
)
def test_what_begins_a_text_as_llama_cpp_has_it(pre: str, stored: bool | None, adds: bool) -> None:
    tokens = [("a", NORMAL, 0.0), ("b", NORMAL, 0.0), ("ab", NORMAL, 0.0), ("<|im_end|>", CONTROL, 0.0)]
    values: dict[str, Scalar] = {"pre": pre} | ({} if stored is None else {"add_bos_token": stored})
    assert vocabulary_of(source("gpt2", tokens, ("a b",), **values)).vocabulary.add_begin is adds


def test_the_end_of_a_turn_comes_first() -> None:
    tokens = [("a", NORMAL, 0.0), ("<s>", CONTROL, 0.0), ("</s>", CONTROL, 0.0), ("<|eot_id|>", CONTROL, 0.0), ("<|im_end|>", CONTROL, 0.0)]
    made = source("llama", tokens, bos_token_id=1, eos_token_id=2, eot_token_id=3)
    assert vocabulary_of(made).vocabulary.ends == (3, 2, 4)
    nameless = dataclasses.replace(made, values={"tokenizer.ggml.model": "llama", "tokenizer.ggml.eos_token_id": 99})
    assert vocabulary_of(nameless).vocabulary.ends == (3, 4, 2)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (source("bert", LLAMA2), "of the kind bert"),
        (source("llama", []), "has 0 tokens"),
        (source("gpt2", LLAMA2, eos_token_id=2), "has no merges"),
        (source("llama", [("a", NORMAL, 0.0)]), "has no special tokens"),
        (source("llama", [("a" * 5000, NORMAL, 0.0), ("</s>", CONTROL, 0.0)]), "has a token of 5000 bytes"),
        (source("llama", [("a", NORMAL, 0.0), ("<s>", CONTROL, 0.0)]), "which token ends a text"),
        (dataclasses.replace(source("llama", LLAMA2), arrays={"tokenizer.ggml.tokens": (1, 2)}), "tokens that are no texts"),
    ],
)
def test_what_cannot_be_said_is_refused(made: Source, sentence: str) -> None:
    with pytest.raises(CannotConvertError, match=sentence):
        vocabulary_of(made)
