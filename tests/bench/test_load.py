"""The load itself, against an engine that is only a function: no network, no clock that matters."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator

import pytest

from synaptic.bench.limits import limits_of
from synaptic.bench.load.measurement import Asking, Load, Measurement, in_turns
from synaptic.bench.load.mixes import MIXES, Prompt
from synaptic.engines.engine import Chunk, Usage
from synaptic.errors import EngineError

pytestmark = pytest.mark.anyio


class Asked:
    """Answers at once, and counts how many are asked at the same time."""

    def __init__(self, cached: int = 0) -> None:
        self.seen: list[str] = []
        self.now = self.most = 0
        self._cached = cached

    async def answer(self, prompt: Prompt, *, may_cache: bool) -> AsyncGenerator[Chunk, None]:
        text = prompt.messages[-1].content
        self.seen.append(text)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            for word in ("a", "b", "c"):
                yield Chunk(word)
            yield Chunk(finish_reason="length", usage=Usage(2 * len(text.split()) + 7, 3, self._cached))
        finally:
            self.now -= 1


def asking(*loads: Load, requests: int = 6, repeats: int = 2) -> Asking:
    return Asking(loads, requests, repeats, 1, limits_of("1000/1000"))


async def measure(asked: Asked, what: Asking) -> Measurement:
    measurement = Measurement(what, asked, lambda *_: None)
    await in_turns([measurement])
    return measurement


async def test_so_many_are_at_work_at_once_and_no_prompt_twice() -> None:
    asked = Asked()
    points = (await measure(asked, asking(Load(MIXES["short"], 3)))).points()
    assert asked.most == 3
    assert [point.requests for point in points] == [12]
    assert len(set(asked.seen)) == len(asked.seen) == 12 + 3 + 2  # warm-up, and two to learn how long words are


async def test_words_are_counted_so_that_prompts_get_the_length_they_should_have() -> None:
    """Here a word is two tokens, and the template takes seven."""
    points = (await measure(Asked(), asking(Load(MIXES["short"], 1)))).points()
    assert points[0].prompt_tokens.mean == 32 + 7


async def test_loads_take_turns() -> None:
    told: list[str] = []

    class Turns(Asked):
        async def answer(self, prompt: Prompt, *, may_cache: bool) -> AsyncGenerator[Chunk, None]:
            told.append("chat" if may_cache else "short")
            async for chunk in super().answer(prompt, may_cache=may_cache):
                yield chunk

    await measure(Turns(), asking(Load(MIXES["short"], 1), Load(MIXES["chat"], 1), requests=2, repeats=3))
    assert told[-12:] == ["short", "short", "chat", "chat"] * 3


async def test_two_that_are_compared_take_turns_and_who_begins_changes() -> None:
    told: list[str] = []

    class Named(Asked):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        async def answer(self, prompt: Prompt, *, may_cache: bool) -> AsyncGenerator[Chunk, None]:
            told.append(self.name)
            async for chunk in super().answer(prompt, may_cache=may_cache):
                yield chunk

    what = asking(Load(MIXES["short"], 1), Load(MIXES["chat"], 1), requests=2, repeats=3)
    measurements = [Measurement(what, Named(name), lambda *_: None) for name in "AB"]
    await in_turns(measurements)
    assert "".join(told[-24:]) == "AABBAABB" + "BBAABBAA" + "AABBAABB"
    assert [[point.requests for point in each.points()] for each in measurements] == [[6, 6], [6, 6]]


async def test_the_cache_is_counted_and_only_a_chat_may_use_it() -> None:
    short, chat = (await measure(Asked(cached=30), asking(Load(MIXES["short"], 1), Load(MIXES["chat"], 1)))).points()
    assert short.cache.hits == chat.cache.hits == 12
    assert short.why_not == "12 requests found a part of the prompt in the server's cache"
    assert chat.why_not == ""


async def test_an_open_load_sends_no_request_before_its_time_and_waits_for_none() -> None:
    what = asking(Load(MIXES["short"], None, 200.0), requests=8, repeats=1)
    (point,) = (await measure(Asked(), what)).points()
    chance, due = random.Random("1 0 None 200.0"), 0.0
    for sample in sorted(point.runs[0].requests, key=lambda sample: sample.at):
        due += chance.expovariate(200.0)
        assert sample.at >= 1000 * due - 1


async def test_what_fails_already_in_the_warm_up_is_no_measurement() -> None:
    class Broken(Asked):
        async def answer(self, prompt: Prompt, *, may_cache: bool) -> AsyncGenerator[Chunk, None]:
            raise EngineError("nothing answers")
            yield Chunk()

    with pytest.raises(EngineError, match="the warm-up failed: nothing answers"):
        await measure(Broken(), asking(Load(MIXES["short"], 1)))
