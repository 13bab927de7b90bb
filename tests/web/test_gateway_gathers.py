"""While many answers are on their way the loop looks less often; afterwards at once again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from gateways import serving

from synaptic.loop import Loop
from synaptic.web.gateway.answers import GATHERS, MANY

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": Loop}


@pytest.mark.parametrize(("answers", "gathers"), [(1, 0.0), (MANY - 1, 0.0), (MANY, GATHERS)])
async def test_it_gathers_for_many(tmp_path: Path, answers: int, gathers: float) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    seen: set[float] = set()

    async def ask() -> None:
        body = {"model": "demo", "messages": [{"role": "user", "content": "What is a worker?"}], "max_tokens": 4}
        events = await served.events("/v1/chat/completions", **body)
        assert events

    async with serving(tmp_path) as served:
        asked = asyncio.gather(*(ask() for _ in range(answers)))
        while not asked.done():
            seen.add(loop.gathers)
            await asyncio.sleep(0.001)
        await asked
        assert seen == {0.0, gathers}
        assert loop.gathers == 0.0
