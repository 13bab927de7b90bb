"""A name says how large a model is, or nothing."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from synaptic.models.name import NamedSize, size_in

BILLION = 10**9
PUBLISHED = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "model_sizes.py"))["PUBLISHED"]


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llama3.1:405b", 405),
        ("llama2:70b-chat-q8_0", 70),
        ("somebody/merged-8x7b", 56),
        ("new-model:1t", 1000),
        ("deepseek-r1:70b", 70),
        ("qwen2.5-coder:1.5B-instruct-q4_K_M", 1.5),
        ("smollm2:135m", 0.135),
        ("new-model:e4b", 4),
        ("qwen2.5-7b-instruct-1m", 7),
        ("hf.co/org/Llama_3B-GGUF:Q4_0", 3),
    ],
)
def test_the_size_is_in_the_name(name: str, billions: float) -> None:
    size = round(billions * BILLION)
    assert size_in(name) == NamedSize(size, size)


def test_a_mixture_names_what_it_uses() -> None:
    assert size_in("qwen3:235b-a22b") == NamedSize(235 * BILLION, 22 * BILLION)
    assert size_in("qwen3-30B-A3B-q4_k_m") == NamedSize(30 * BILLION, 3 * BILLION)


@pytest.mark.parametrize("name", ["deepseek-r1", "llama3.2:mine", "me/my-phi3", "demo", "model-q4_k_m", "v1.5", "4bit", "gpt-4", "", "b"])
def test_no_size_is_guessed(name: str) -> None:
    assert size_in(name) is None


def test_the_table_is_worth_its_name() -> None:
    assert len(PUBLISHED) >= 25


@pytest.mark.parametrize(("name", "total", "active"), PUBLISHED, ids=[name for name, *_ in PUBLISHED])
def test_published_models_have_their_published_size(name: str, total: float, active: float) -> None:
    found = size_in(name)
    if not total:
        assert found is None
        return
    assert found is not None
    assert found.parameters == pytest.approx(total * BILLION, rel=0.2)  # `1b` is 1.24 billion
    assert found.active_parameters == pytest.approx(active * BILLION, rel=0.2)
    assert found.active_parameters <= found.parameters


def test_an_explicit_share_beats_the_table() -> None:
    assert size_in("hf.co/me/Qwen3-30B-A4B-GGUF:Q8_0") == NamedSize(30 * BILLION, 4 * BILLION)
