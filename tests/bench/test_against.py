"""bench run --against: two take turns in one run, and are compared."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from synaptic.bench.kept import problem_of, read
from synaptic.commands import load
from synaptic.errors import UsageError
from synaptic.events import WorkProgressed

pytestmark = pytest.mark.anyio
registry = load()


async def run(session, line: str) -> dict:
    result = await registry.parse_line(f"bench run {line}").run(session)
    return json.loads(json.dumps(result.as_json()))


def row(found: dict, metric: str) -> dict:
    return next(each for each in found["compared"] if each["metric"] == metric)


async def test_the_slower_one_is_told_with_its_ratio_and_that_it_is_no_chance(fakellama, session_with) -> None:
    """5 ms before each token against 100."""
    session = session_with()
    urls = fakellama("delay_ms=5"), fakellama("delay_ms=100")
    found = await run(session, f"--endpoint {urls[0]} --against {urls[1]} --requests 1 --repeats 6")
    said = row(found, "tpot")
    assert said["verdict"] == "worse"
    assert said["p"] < 0.05
    assert 1 < said["ci95"][0] < said["ratio"] < said["ci95"][1]
    assert row(found, "throughput")["ratio"] < 1
    a, b = (read(Path(file)) for file in found["files"])
    assert (a.id, b.id) == (found["a"], found["b"])
    assert [each.software.where for each in (a, b)] == list(urls)
    assert (a.config["in_turns_with"], b.config["in_turns_with"]) == (b.id, a.id)
    assert all(problem_of(json.loads(Path(file).read_text())) == "" for file in found["files"])
    again = (await registry.parse_line(f"bench compare {a.id} {b.id}").run(session)).as_json()
    assert again["compared"] == found["compared"]


async def test_what_broke_off_is_kept_and_not_compared(fakellama, session_with) -> None:
    found = await run(session_with(), f"--endpoint {fakellama()} --against {fakellama('cut_after=3')} --requests 2 --repeats 2")
    assert found["compared"] == []
    assert "4 of 4 requests failed or broke off" in found["not_compared"]
    assert len(found["files"]) == 2


async def test_of_an_interrupted_one_both_are_kept(fakellama, session_with, tmp_path: Path) -> None:
    session = session_with()
    line = f"--endpoint {fakellama('delay_ms=5')} --against {fakellama('delay_ms=5')} --requests 2 --repeats 100"
    with session.bus.subscribe(WorkProgressed) as events:
        running = asyncio.create_task(run(session, line))
        async for event in events:
            if (event.done or 0) >= 5:
                break
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    kept = [read(file) for file in sorted((tmp_path / "state" / "bench").glob("*.json"))]
    assert [each.complete for each in kept] == [False, False]


async def test_two_models_are_refused_before_anything_is_measured(program, session_with) -> None:
    one, other = (f"http://127.0.0.1:{program('vllmfake.py', '--model', name)}" for name in ("m", "n"))
    with pytest.raises(UsageError, match="two models are no comparison: m at .*, and n at "):
        await run(session_with(), f"--endpoint {one} --against {other}")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--against dlama", "the address of a server or an engine, not dlama"),
        ("--against 127.0.0.1:1 --out x.json", "--out names one file"),
    ],
)
async def test_what_cannot_be_is_said_before_anything_starts(session_with, line: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        await run(session_with(), line)


@pytest.mark.live
async def test_a_real_server_against_itself_far_away(serving, program, session_with) -> None:
    """Over a cable of 300 ms each way the first token comes later, and the next ones as before."""
    url = serving("-np", "1", "-t", "1")
    far = f"http://127.0.0.1:{program('delayproxy.py', url.rpartition(':')[2], '--delay', '300')}"
    found = await run(session_with(), f"--model demo --endpoint {url} --against {far} --requests 2 --repeats 4")
    said = row(found, "ttft")
    assert (said["verdict"], said["significant"]) == ("worse", True)
    assert said["b"] >= 600
    assert said["ci95"][0] > 1
    assert found["not_compared"] == ""


@pytest.mark.live
async def test_an_engine_against_another_by_name(session_with, llama_server: Path, serving) -> None:
    session = session_with(LLAMA_SERVER=str(llama_server))
    try:
        found = await run(session, f"--model demo --via llama.cpp --against {serving('-np', '1')} --requests 1 --repeats 2")
    finally:
        await session.close()
    assert found["not_compared"] == ""
    assert {each["metric"] for each in found["compared"]} >= {"ttft", "tpot", "throughput"}
