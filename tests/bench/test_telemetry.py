from __future__ import annotations

import asyncio
import json

import pytest

from synaptic.bench.telemetry.moment import gpus_of
from synaptic.bench.telemetry.this_machine import ThisMachine

pytestmark = pytest.mark.anyio


async def test_it_looks_again_and_again_and_says_what_that_costs() -> None:
    telemetry = ThisMachine("here", every=0.01)
    async with telemetry:
        async with asyncio.timeout(30):
            while len(telemetry.as_json()["here"]["series"]) < 3:
                await asyncio.sleep(0.01)  # a busy loop would keep the thread that looks from its turn
    said = json.loads(json.dumps(telemetry.as_json()))["here"]
    assert 0 < said["overhead"] < 1
    assert [each["at"] for each in said["series"]] == sorted(each["at"] for each in said["series"])
    for moment in said["series"]:
        assert 0 <= moment["cpu"] <= 100
        assert moment["memory"] > 0
        assert min(moment["sent"], moment["received"]) >= 0


def test_the_lines_of_nvidia_smi() -> None:
    one, other = gpus_of("33, 26400, 180.50, 61\n[N/A], 1, [N/A], 40\n")
    assert (one.busy, one.memory, one.power, one.temperature) == (33.0, 26400 * 1024**2, 180.5, 61.0)
    assert (other.busy, other.power) == (None, None)
    assert gpus_of("No devices were found\n") == ()
