from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from synaptic.bench.load.mixes import MIXES, Mix, prompts
from synaptic.errors import UsageError


def texts(mix: Mix, seed: str, count: int) -> list[str]:
    return [prompt.messages[-1].content for prompt in itertools.islice(prompts(mix, seed, 0.5), count)]


@pytest.mark.parametrize("name", ["short", "long", "code"])
def test_no_two_prompts_begin_alike_and_a_seed_gives_the_same_ones(name: str) -> None:
    mix = MIXES[name]
    found = texts(mix, "1", 200) + texts(mix, "2", 200)
    assert len({text.split()[0] for text in found}) > 0.99 * 400
    assert len(set(found)) == 400
    assert texts(mix, "1", 200) == found[:200]
    assert {len(text.split()) for text in found} == {mix.prompt_tokens // 2}


def test_a_chat_says_all_that_was_said_before() -> None:
    first, second, third, other = (prompt.messages for prompt in itertools.islice(prompts(MIXES["chat"], "1", 1.0), 4))
    assert [len(each) for each in (first, second, third, other)] == [1, 3, 5, 1]
    assert third[:3] == second[:3]
    assert [message.role for message in third] == ["user", "assistant", "user", "assistant", "user"]
    assert other[0] != first[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no prompts"),
        ("no json", "line 1, is no prompt"),
        ('{"prompt": 1}', "is no prompt"),
        ('{"prompt": "a", "max_tokens": 0}', "is no"),
    ],
)
def test_own_prompts_that_are_none(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "own.jsonl").write_text(text)
    with pytest.raises(UsageError, match=why):
        Mix.parse(f"custom:{tmp_path}/own.jsonl")
    with pytest.raises(UsageError, match="cannot read"):
        Mix.parse(f"custom:{tmp_path}/nothing.jsonl")
