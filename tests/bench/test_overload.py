"""When a load counts as more than the server can answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator

import pytest

from synaptic.bench.limits import limits_of
from synaptic.bench.load.measurement import Asking, Load, Measurement, in_turns
from synaptic.bench.load.mixes import MIXES, Prompt
from synaptic.bench.load.overload import MOST_WAITING, Answered, rises, why_behind
from synaptic.engines.engine import Chunk, Usage

pytestmark = pytest.mark.anyio


def growing(count: int = 60) -> list[Answered]:
    return [Answered(float(at), at // 2, 100.0 + 50 * at) for at in range(count)]


def test_a_queue_that_grows_is_told_with_its_size() -> None:
    assert why_behind(growing(), 30) == "30 requests wait, and the time to the first token rose from 1600 to 3050 ms"


@pytest.mark.parametrize(
    "answered",
    [
        growing(19),  # too few to tell
        [Answered(float(at), 12, 100.0 + 50 * (at % 3)) for at in range(60)],  # long, but no longer than before
        [Answered(float(at), at // 2, 100.0) for at in range(60)],  # more at once, each as soon as ever
    ],
)
def test_what_is_steady_keeps_up(answered: list[Answered]) -> None:
    assert why_behind(answered, 30) == ""


def test_a_short_queue_is_none() -> None:
    assert why_behind(growing(), 3) == ""


def test_a_burst_is_no_overload() -> None:
    assert why_behind(growing(), 30, is_steady=False) == ""


def test_failures_count_as_falling_behind() -> None:
    answered = [Answered(float(at), 1, 100.0 if at < 20 else None) for at in range(40)]
    assert why_behind(answered, 1) == "20 of the last 20 requests failed"


def test_nobody_waits_for_ever() -> None:
    assert why_behind([], MOST_WAITING) == f"{MOST_WAITING} requests wait"


def test_noise_has_no_slope() -> None:
    chance = random.Random(4)
    assert not rises(range(50), [chance.random() for _ in range(50)])
    assert rises(range(50), [chance.random() + place / 20 for place in range(50)])
    assert not rises([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])


class OneAtATime:
    """Takes one after the other, each for as long as it takes for two more to come."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def answer(self, prompt: Prompt, *, may_cache: bool) -> AsyncGenerator[Chunk, None]:
        async with self._turn:
            await asyncio.sleep(0.01)
            yield Chunk("a")
        yield Chunk("b", finish_reason="length", usage=Usage(9, 2, 0))


async def test_an_open_load_that_is_too_much_is_stopped_early_and_says_at_which_rate() -> None:
    load = Load(MIXES["short"], None, 1000.0)
    measurement = Measurement(Asking((load,), 1000, 3, 1, limits_of("1000/1000")), OneAtATime(), lambda *_: None)
    await in_turns([measurement])
    (point,) = measurement.points()
    assert len(point.runs) == 1  # the other repeats would say the same
    assert 20 <= point.requests < 1000
    assert point.why_not.startswith("it fell behind 1000 a second: ")
    assert "requests wait" in point.why_not


async def test_too_much_is_also_seen_when_all_were_sent_before_the_first_answers() -> None:
    load = Load(MIXES["short"], None, 1e6)
    measurement = Measurement(Asking((load,), 300, 1, 1, limits_of("1000/1000")), OneAtATime(), lambda *_: None)
    await in_turns([measurement])
    (point,) = measurement.points()
    assert point.requests < 300
    assert "requests wait" in point.why_not
