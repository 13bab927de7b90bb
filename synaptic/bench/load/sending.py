"""How requests are sent: so many at once, or each at its time. Each one that is over is a sample more."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Protocol

from synaptic.bench.load.mixes import Mix, Prompt
from synaptic.bench.load.overload import Answered, why_behind
from synaptic.bench.sample import Sample, measured
from synaptic.engines.engine import Chunk


class Asked(Protocol):
    def answer(self, prompt: Prompt, *, may_cache: bool) -> AsyncGenerator[Chunk, None]:
        """The answer to one request; nothing is sent before its first step. Raises EngineError."""
        ...


async def closed_loop(asked: Asked, mix: Mix, source: Iterator[Prompt], requests: int, at_once: int, samples: list[Sample]) -> None:
    """As soon as one is answered, the next is sent."""
    origin, waiting = time.monotonic(), iter(range(requests))

    async def one_after_another() -> None:
        for _ in waiting:
            samples.append(await measured(asked.answer(next(source), may_cache=mix.may_cache), origin))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, requests)):
            group.create_task(one_after_another())


async def open_loop(
    asked: Asked, mix: Mix, source: Iterator[Prompt], due: Sequence[float], samples: list[Sample], *, is_steady: bool = True
) -> str:
    """
    Sent at their time, however many are still unanswered: so a queue shows. `due`: seconds from now, in their order;
    `is_steady`: at one rate, as chance has it.

    Why it was stopped: they came faster than they were answered. Those without an answer by then are no samples. Empty:
    all were sent, and are over.
    """
    origin = time.monotonic()
    waiting: set[asyncio.Task[None]] = set()
    answered: list[Answered] = []

    async def one(prompt: Prompt, before: int) -> None:
        sent = time.monotonic() - origin
        sample = await measured(asked.answer(prompt, may_cache=mix.may_cache), origin)
        samples.append(sample)
        answered.append(Answered(sent, before, sample.ttft if sample.is_whole else None))

    async with asyncio.TaskGroup() as group:
        for moment in due:
            await asyncio.sleep(max(0.0, origin + moment - time.monotonic()))
            if why := why_behind(answered, len(waiting), is_steady=is_steady):
                return _given_up(waiting, why)
            task = group.create_task(one(next(source), len(waiting)))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        while waiting:  # all are sent; whether they came too fast may only show now
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if why := why_behind(answered, len(waiting), is_steady=is_steady):
                return _given_up(waiting, why)
    return ""


def _given_up(waiting: set[asyncio.Task[None]], why: str) -> str:
    for task in waiting:
        task.cancel()
    return why


def poisson(requests: int, rate: float, chance: random.Random) -> list[float]:
    """Seconds at which so many a second come, at random and independently of each other."""
    moments, at = [], 0.0
    for _ in range(requests):
        at += chance.expovariate(rate)
        moments.append(at)
    return moments
