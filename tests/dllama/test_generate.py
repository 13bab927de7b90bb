"""The face of the engine: conversations in, pieces of an answer out."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from dllama.cpp import DEMO, TOKENIZER

from synaptic.dllama.answer import Sampling
from synaptic.dllama.chat import Message, Style
from synaptic.dllama.generate import Generator, TooLongError
from synaptic.dllama.header import read_header
from synaptic.dllama.local import needs
from synaptic.dllama.running import Cached, Loading, Pass
from synaptic.dllama.spreading import Spreading

pytestmark = pytest.mark.anyio
MODEL = DEMO / "demo-q40.m"
GREEDY = Sampling(temperature=0)
HELLO = [Message("user", "What does a worker do?")]


@pytest.fixture
async def generator():
    async with contextlib.aclosing(Generator(MODEL, TOKENIZER)) as opened:
        yield opened


async def said(generator, conversation, sampling=GREEDY):
    return [piece async for piece in generator.generate(conversation, sampling)]


def text(pieces):
    return "".join(piece.text for piece in pieces)


async def test_only_the_last_piece_says_why_it_ended(generator):
    pieces = await said(generator, HELLO)
    assert [piece.finish for piece in pieces] == [None] * (len(pieces) - 1) + ["stop"]
    assert all(len(piece.ids) == 1 for piece in pieces)
    assert "worker" in text(pieces)
    assert pieces[-1].prompt_tokens > 10


async def test_what_it_has_seen_is_not_computed_again(generator):
    first = await said(generator, HELLO)
    assert first[-1].cached == 0
    again = await said(generator, HELLO)
    assert (again[-1].cached, text(again)) == (first[-1].prompt_tokens - 1, text(first))
    further = [*HELLO, Message("assistant", text(first)), Message("user", "And a coordinator?")]
    assert (await said(generator, further))[-1].cached >= first[-1].prompt_tokens - 1
    other = await said(generator, [Message("user", "hello")])
    assert other[-1].cached < first[-1].prompt_tokens
    assert text(await said(generator, HELLO)) == text(first)


async def test_a_seed_decides_what_is_drawn(generator):
    warm = [text(await said(generator, "hello", Sampling(2.5, 0.99, seed, 40))) for seed in (5, 5, 6)]
    assert warm[0] == warm[1] != warm[2]


async def test_it_ends_where_it_is_told_to(generator):
    whole = text(await said(generator, HELLO))
    few = await said(generator, HELLO, Sampling(0, max_tokens=5))
    assert (len(few), few[-1].finish) == (5, "length")
    assert whole.startswith(text(few))
    word = whole.split()[4]
    stopped = await said(generator, HELLO, Sampling(0, stops=(word,)))
    assert (text(stopped), stopped[-1].finish) == (whole[: whole.index(word)], "stop")


async def test_it_goes_on_up_to_the_end_of_the_context():
    spreading = Spreading(context=40)
    async with contextlib.aclosing(Generator(MODEL, TOKENIZER, spreading)) as generator:
        pieces = await said(generator, "hello", Sampling(0, ignores_end=True))
        assert (pieces[-1].finish, pieces[-1].prompt_tokens + len(pieces)) == ("length", 41)  # the last is not fed any more
        with pytest.raises(TooLongError, match="a context of 40 tokens, and the prompt takes 41"):
            await said(generator, list(range(41)))
        with pytest.raises(TooLongError, match="empty"):
            await said(generator, [])
        assert await said(generator, "hello", Sampling(0, ignores_end=True))


async def test_the_originals_mistakes_are_a_choice():
    """Here the prompt's last token is the right-hand half of the last merge, so the original feeds another one."""
    answers = {}
    for style in Style:
        async with contextlib.aclosing(Generator(MODEL, TOKENIZER, style=style)) as generator:
            answers[style] = text(await said(generator, "What is a worker", Sampling(0, max_tokens=20)))
    assert answers[Style.CORRECT] != answers[Style.COMPATIBLE]


async def test_it_may_be_cancelled_at_any_moment_and_used_again(generator):
    expected = text(await said(generator, HELLO))
    for moments in range(0, 40, 3):
        asking = asyncio.create_task(said(generator, HELLO))
        for _ in range(moments):
            await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert text(await said(generator, HELLO)) == expected


async def test_it_is_closed_once_and_for_all():
    generator = Generator(MODEL, TOKENIZER)
    await said(generator, HELLO)
    await asyncio.gather(generator.aclose(), generator.aclose())


async def test_whoever_leaves_in_the_middle_does_not_keep_others_waiting(generator):
    async with contextlib.aclosing(generator.generate(HELLO, GREEDY)) as leaving:
        async for _ in leaving:
            break
    both = await asyncio.gather(said(generator, HELLO), said(generator, HELLO))
    assert text(both[0]) == text(both[1])


async def test_a_budget_changes_nothing_but_the_speed():
    facts = []
    budget = needs(read_header(MODEL)).least
    async with contextlib.aclosing(Generator(MODEL, TOKENIZER, Spreading(memory=budget), tell=facts.append)) as generator:
        await generator.ensure_ready()
        assert any(isinstance(fact, Loading) for fact in facts)
        pieces = await said(generator, HELLO)
    async with contextlib.aclosing(Generator(MODEL, TOKENIZER)) as whole:
        assert text(pieces) == text(await said(whole, HELLO))
    assert {fact.hits for fact in facts if isinstance(fact, Cached)} == {0}
    assert len([fact for fact in facts if isinstance(fact, Pass)]) == len(pieces) + 1
