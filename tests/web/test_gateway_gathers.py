"""While many answers are on their way the loop looks less often; afterwards at once again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from gateways import Served, serving
from ollamas import StartOllama

from synaptic.loop import Loop
from synaptic.web.gateway.answers import GATHERS, MANY

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": Loop}


@pytest.mark.parametrize(("answers", "gathers"), [(1, 0.0), (MANY - 1, 0.0), (MANY, GATHERS)])
async def test_it_gathers_for_many(tmp_path: Path, ollamafake: StartOllama, answers: int, gathers: float) -> None:
    node = ollamafake("--delay", 20)
    async with serving(tmp_path, nodes=[node.url]) as served:
        assert await seen(served, "demo:latest", answers) == {0.0, gathers}


async def test_but_not_for_those_that_wait_for_their_turn(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert await seen(served, "demo", 2 * MANY) == {0.0}


async def seen(served: Served, model: str, answers: int) -> set[float]:
    """How long the loop gathered while so many asked at once, and afterwards."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    body = {"model": model, "messages": [{"role": "user", "content": "What is a worker?"}], "max_tokens": 4}
    asked = asyncio.gather(*(served.events("/v1/chat/completions", **body) for _ in range(answers)))
    found: set[float] = set()
    while not asked.done():
        found.add(loop.gathers)
        await asyncio.sleep(0.001)
    assert all(await asked)
    while served.gateway._answers._running:  # the last of them is on its way out
        await asyncio.sleep(0.001)
    assert loop.gathers == 0.0
    return found
