"""While a model is on its way into memory: 503, how far it is, and when to come back. Whichever engine loads it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest
from dllamas import dllama_program
from gateways import Served, serving

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "What is a worker?"}]


async def statuses(served: Served, model: str) -> list[tuple[int, str, str]]:
    """Until it is answered: the status, Retry-After, and what was said."""
    said: list[tuple[int, str, str]] = []
    async with aiohttp.ClientSession() as http:
        while not said or said[-1][0] == 503:
            body = {"model": model, "messages": MESSAGES, "stream": False, "options": {"num_predict": 3, "temperature": 0}}
            async with http.post(f"{served.url}/api/chat", json=body) as answer:
                document = await answer.json()
                told = document.get("error") or document["message"]["content"]
                said.append((answer.status, answer.headers.get("Retry-After", ""), told))
            await asyncio.sleep(0.02)
    return said


async def test_the_built_in_root(tmp_path: Path) -> None:
    async with serving(tmp_path, patience=0.0) as served:
        said = await statuses(served, "demo")
        (root,) = served.session.roots.all()
        again = await statuses(served, "demo")
    assert said[0][:2] == (503, "1")
    assert re.match(r"demo is loading.*, \d+ s so far", said[0][2])
    assert (said[-1][0], root.state) == (200, "ready")
    assert [status for status, _, _ in again] == [200]


@pytest.mark.live
async def test_a_dllama_api(tmp_path: Path) -> None:
    async with serving(tmp_path, patience=0.0, DLLAMA_API=str(dllama_program("DLLAMA_API"))) as served:
        served.session.settings.for_now(via="dllama")
        said = await statuses(served, "demo")
        (coordinator,) = served.session.dllama_apis.all()
    assert said[0][:2] == (503, "1")
    assert "is loading" in said[0][2]
    assert (said[-1][0], coordinator.plan.model.name) == (200, "demo")
