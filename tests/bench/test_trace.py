"""Recorded loads: Mooncake's lines, Azure's table, and one's own words."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from synaptic.bench.load.mixes import Mix, prompts
from synaptic.bench.load.trace import read_trace
from synaptic.errors import UsageError

MOONCAKE = (
    '{"timestamp": 3052, "input_length": 20, "output_length": 8, "hash_ids": [46, 47]}\n\n'
    '{"timestamp": 3000, "input_length": 12, "output_length": 4, "hash_ids": [46]}\n'
)
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,374,44\n2023-11-16 18:17:04.0319600,396,109\n"
OWN = '{"timestamp": 0, "prompt": "one two", "max_tokens": 5}\n'


def test_the_lines_of_mooncake_in_the_order_of_their_times(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(MOONCAKE)
    first, second = read_trace(tmp_path / "t.jsonl")
    assert (first.at, first.prompt_tokens, first.answer_tokens) == (0.0, 12, 4)
    assert (second.at, second.prompt_tokens, second.answer_tokens) == (pytest.approx(0.052), 20, 8)


def test_the_table_of_azure(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(AZURE)
    first, second = read_trace(tmp_path / "t.csv")
    assert (first.at, first.prompt_tokens, first.answer_tokens) == (0.0, 374, 44)
    assert second.at == pytest.approx(0.052, abs=1e-6)


def test_the_words_are_new_each_time_and_as_many_as_recorded(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(MOONCAKE)
    mix = Mix.parse(f"trace:{tmp_path}/t.jsonl")
    assert (mix.name, mix.longest) == ("trace:t.jsonl", 28)
    texts = [prompt.messages[0].content for seed in ("a", "b") for prompt in itertools.islice(prompts(mix, seed, 1.0), 2)]
    assert [len(text.split()) for text in texts] == [12, 20, 12, 20]
    assert len({text.split()[0] for text in texts}) == 4
    assert [prompt.answer_tokens for prompt in itertools.islice(prompts(mix, "a", 1.0), 2)] == [4, 8]


def test_words_of_ones_own_are_sent_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(OWN)
    prompt = next(prompts(Mix.parse(f"trace:{tmp_path}/t.jsonl"), "a", 1.0))
    assert (prompt.messages[0].content, prompt.answer_tokens) == ("one two", 5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[1]",
        '{"timestamp": -1, "input_length": 1, "output_length": 1}',
        '{"timestamp": NaN, "input_length": 1, "output_length": 1}',
        '{"timestamp": 0, "input_length": 0, "output_length": 1}',
        '{"timestamp": 0, "input_length": 1}',
        '{"timestamp": 0, "prompt": 5, "max_tokens": 1}',
        "TIMESTAMP,ContextTokens,GeneratedTokens\nsoon,1,1\n",
        "[" * 100_000,
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(UsageError, match="cannot be read|has no requests"):
        read_trace(tmp_path / "t")
