"""What ships as the demo model is what its description says, and what its scripts would write again."""

from __future__ import annotations

from pathlib import Path
from random import Random

import gguf
import numpy as np
import pytest
from faq import FILE, entries

from scripts.demo_model.data import off_topic, reworded
from scripts.demo_model.export import spm_text, write_gguf, write_m, write_t
from scripts.demo_model.faq import REFUSAL
from scripts.demo_model.shape import Shape, Weights
from scripts.demo_model.tokenizer import SPECIALS, Kind, Tokenizer, learn
from synaptic.models.gguf import read_header

SHIPPED = FILE.parent


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load()


@pytest.fixture(scope="module")
def stored() -> gguf.GGUFReader:
    return gguf.GGUFReader(SHIPPED / "demo-q4_0.gguf")


@pytest.fixture(scope="module")
def weights(stored: gguf.GGUFReader) -> Weights:
    return {each.name: np.asarray(gguf.quants.dequantize(each.data, each.tensor_type), np.float32) for each in stored.tensors}


def test_it_is_small() -> None:
    files = {path.name: path.stat().st_size for path in SHIPPED.iterdir()}
    assert files.keys() == {"demo-q4_0.gguf", "demo-q40.m", "demo.t", "faq.txt"}
    assert sum(files.values()) <= 4_000_000


def test_its_header() -> None:
    header = read_header(SHIPPED / "demo-q4_0.gguf")
    assert (header.parameters, header.layers, header.context, header.quantization) == (2_361_600, 4, 512, "Q4_0")
    assert (header.architecture, header.heads, header.kv_heads, header.embedding_length) == ("llama", 8, 4, 256)
    assert header.has_chat_template


def test_what_it_knows_can_be_read() -> None:
    known = entries()
    assert len(known) == 103
    assert known[0].questions[:2] == ("Who are you?", "What are you?")
    assert known[0].held_out == ("So who exactly am I talking to?",)
    assert known[0].answer.startswith("I am the built-in demo model")
    for entry in known:
        assert entry.questions
        assert all(entry.questions)
        assert entry.held_out
        assert entry.answer
    assert len({entry.answer for entry in known} | {REFUSAL}) == len(known) + 1


def test_the_tokenizer_is_the_one_in_the_gguf(tokenizer: Tokenizer, stored: gguf.GGUFReader) -> None:
    def field(name: str) -> list[object]:
        found = stored.get_field(f"tokenizer.ggml.{name}")
        assert found is not None
        return list(found.contents()) if isinstance(found.contents(), list) else [found.contents()]

    assert field("tokens") == [spm_text(piece.text, piece.kind).decode() for piece in tokenizer.pieces]
    assert field("scores") == [piece.score for piece in tokenizer.pieces]
    assert field("bos_token_id") + field("eos_token_id") + field("eot_token_id") == [tokenizer.begin, tokenizer.end, tokenizer.end_of_turn]


@pytest.mark.parametrize("text", ["Hello wörld €", "", " \n\n two  spaces", "<unk>", "\x00\x7f"])
def test_a_text_survives_the_tokenizer(text: str, tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == ("" if text in SPECIALS else text)


def test_a_conversation_is_told_by_its_marks(tokenizer: Tokenizer) -> None:
    written = "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    assert tokenizer.encode(written) == [*tokenizer.turn("user"), *tokenizer.encode("Hi"), tokenizer.end_of_turn]


def test_the_answers_fit_the_context(tokenizer: Tokenizer) -> None:
    assert max(len(tokenizer.encode(entry.answer)) for entry in entries()) < 100


def test_a_vocabulary_is_learnt_from_what_is_frequent() -> None:
    learnt = learn([("the then thee", 3), ("zz", 1)], 256 + len(SPECIALS) + 4)
    assert learnt.merges[:3] == ["\n\n", "th", "the"]
    assert len(learnt.pieces) == 256 + len(SPECIALS) + 4
    assert [learnt.pieces[token].text for token in learnt.encode("the")] == [b"the"]
    assert learnt.pieces[learnt.regular].kind is Kind.SPECIAL


def test_training_questions_are_many_and_the_same_for_the_same_seed() -> None:
    question = entries()[0].questions[0]
    chance, again = Random(7), Random(7)
    wordings = [reworded(question, chance) for _ in range(500)]
    strays = [off_topic(chance) for _ in range(500)]
    assert wordings == [reworded(question, again) for _ in range(500)]
    assert len(set(wordings)) > 100
    assert all(wordings)
    assert not any("{" in stray for stray in strays)


def test_the_gguf_is_what_the_export_writes(tokenizer: Tokenizer, weights: Weights, tmp_path: Path) -> None:
    write_gguf(tmp_path / "again.gguf", Shape(), weights, tokenizer, "Q4_0")
    assert (tmp_path / "again.gguf").read_bytes() == (SHIPPED / "demo-q4_0.gguf").read_bytes()


def test_the_other_engines_files_hold_the_same_weights(tokenizer: Tokenizer, weights: Weights, tmp_path: Path) -> None:
    write_m(tmp_path / "again.m", Shape(), weights, "Q4_0")
    write_t(tmp_path / "again.t", tokenizer)
    assert (tmp_path / "again.m").read_bytes() == (SHIPPED / "demo-q40.m").read_bytes()
    assert (tmp_path / "again.t").read_bytes() == (SHIPPED / "demo.t").read_bytes()
