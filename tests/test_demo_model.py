"""What ships as the demo model is what its description says."""

from __future__ import annotations

from faq import FILE, entries

from scripts.demo_model.faq import REFUSAL
from synaptic.models.gguf import read_header

SHIPPED = FILE.parent


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
