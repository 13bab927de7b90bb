"""A name says how large a model is, or nothing."""

from __future__ import annotations

import pytest

from synaptic.models.name import NamedSize, size_in

BILLION = 10**9


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llama3.1:405b", 405),
        ("llama2:70b-chat-q8_0", 70),
        ("deepseek-r1:671b", 671),
        ("mixtral:8x7b", 56),
        ("kimi-k2:1t", 1000),
        ("qwen2.5-coder:1.5B-instruct-q4_K_M", 1.5),
        ("smollm2:135m", 0.135),
        ("gemma3n:e4b", 4),
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


@pytest.mark.parametrize("name", ["llama3.2", "phi3", "demo", "model-q4_k_m", "v1.5", "4bit", "gpt-4", "", "b", "mistral:latest"])
def test_no_size_is_guessed(name: str) -> None:
    assert size_in(name) is None
