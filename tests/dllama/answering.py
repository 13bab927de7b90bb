"""Answers of our engine, as the real root's `inference` prints its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dllama.cpp import TOKENIZER

from synaptic.dllama.answer import Sampling
from synaptic.dllama.chat import Style
from synaptic.dllama.generate import Generator
from synaptic.dllama.running import Fact, nobody
from synaptic.dllama.spreading import Spreading
from synaptic.dllama.tokenizer import Tokenizer
from synaptic.dllama.tokenizer_file import read_vocabulary

QUESTION = "Why is the sky blue? hello"


def sampling(prompt: str, steps: int, temperature: float = 0, seed: int = 1) -> Sampling:
    """So that as many tokens come as the real one generates in so many steps."""
    tokens = len(Tokenizer(read_vocabulary(TOKENIZER)).encode(prompt.encode()).tokens)
    return Sampling(temperature, 0.9, seed, max_tokens=steps - tokens + 1, ignores_end=True)


async def our_root(
    model: Path,
    spreading: Spreading,
    prompt: str = QUESTION,
    steps: int = 24,
    *,
    temperature: float = 0,
    seed: int = 1,
    tell: Callable[[Fact], None] = nobody,
) -> list[str]:
    """The pieces, `~` where there is none; with the original's mistakes."""
    generator = Generator(model, TOKENIZER, spreading, style=Style.COMPATIBLE, tell=tell)
    try:
        pieces = [piece async for piece in generator.generate(prompt, sampling(prompt, steps, temperature, seed))]
    finally:
        await generator.aclose()
    assert [piece.finish for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
    return [piece.text or "~" for piece in pieces]
