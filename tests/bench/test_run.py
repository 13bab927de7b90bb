"""bench run, as it is typed, against servers whose delays and faults are known."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from synaptic.bench.kept import problem_of, read
from synaptic.commands import load
from synaptic.errors import EngineError, UsageError
from synaptic.events import WorkProgressed
from synaptic.results import Facts

pytestmark = pytest.mark.anyio
registry = load()
OWN = '{"prompt": "one two three", "max_tokens": 6}\n{"prompt": "four five", "max_tokens": 6}\n'


async def run(session, line: str) -> dict:
    result = await registry.parse_line(f"bench run {line}").run(session)
    assert isinstance(result, Facts)
    return json.loads(json.dumps(result.as_json()))


async def test_its_times_are_those_of_the_tokens(fakellama, session_with) -> None:
    """Six tokens, 20 ms before each: the first after one delay, the last after six. Ratios only: a busy machine is slower."""
    found = await run(session_with(), f"--endpoint {fakellama('delay_ms=20')} --mix short --requests 2 --repeats 2 --seed 7")
    (shape,) = found["shapes"]
    samples = [sample for each in shape["runs"] for sample in each["requests"]]
    assert len(samples) == shape["requests"] == 4
    for sample in samples:
        assert sample["ttft"] >= 20
        assert sample["e2e"] == pytest.approx(sample["ttft"] + sum(sample["itl"]), abs=0.1)
        assert len(sample["itl"]) == sample["tokens"] - 1 == 15  # its sentence has 16 words
        assert sample["e2e"] >= 16 * 20
    assert shape["itl"]["n"] == 4 * 15
    assert shape["tpot"]["mean"] == pytest.approx(sum((each["e2e"] - each["ttft"]) / 15 for each in samples) / 4)
    assert (shape["errors"], shape["truncated"], shape["cache"]["hits"], shape["why_not"]) == (0, 0, 0, "")
    assert shape["ttft"]["ci95"][0] <= shape["ttft"]["mean"] <= shape["ttft"]["ci95"][1]
    assert [shape["ttft"][rank] for rank in ("p50", "p99")] == [None, None]
    for each in shape["runs"]:
        assert each["means"]["throughput"] == pytest.approx(2 * 16 / each["seconds"], rel=1e-3)
    assert problem_of(found) == ""


async def test_a_queue_shows_in_the_time_to_the_first_token(fakellama, session_with) -> None:
    """The server answers one at a time: of two at once, one waits for the whole of the other."""
    found = await run(session_with(), f"--endpoint {fakellama('delay_ms=10')} --requests 4 --concurrency 1,2 --repeats 1")
    alone, together = found["shapes"]
    assert (alone["concurrency"], together["concurrency"]) == (1, 2)
    longest = max(sample["ttft"] for sample in together["runs"][0]["requests"])
    assert longest > 16 * 10
    assert together["ttft"]["ci95"] is None  # one repeat has no interval


async def test_a_stream_that_breaks_off_is_counted_and_is_no_speed(fakellama, session_with) -> None:
    url = fakellama("cut_after=3")
    found = await run(session_with(), f"--endpoint {url} --requests 3 --repeats 2")
    (shape,) = found["shapes"]
    assert (shape["requests"], shape["errors"], shape["truncated"]) == (6, 0, 6)
    assert (shape["throughput"]["mean"], shape["goodput"]["mean"], shape["ttft"]["mean"]) == (0.0, 0.0, None)
    assert shape["why_not"] == "6 of 6 requests failed or broke off"
    assert all("ended early" in sample["error"] for each in shape["runs"] for sample in each["requests"])


async def test_a_server_that_refuses_ends_it_with_its_reason(fakellama, session_with) -> None:
    with pytest.raises(EngineError, match="the warm-up failed: .*500"):
        await run(session_with(), f"--endpoint {fakellama('status=500')} --requests 1")


async def test_goodput_counts_only_what_keeps_the_limits(fakellama, session_with) -> None:
    url = fakellama("delay_ms=20")
    strict = await run(session_with(), f"--endpoint {url} --requests 2 --repeats 1 --limits 1/1")
    loose = await run(session_with(), f"--endpoint {url} --requests 2 --repeats 1 --limits 60000/60000")
    assert strict["shapes"][0]["goodput"]["mean"] == 0.0
    each = loose["shapes"][0]["runs"][0]
    assert each["means"]["goodput"] == pytest.approx(2 / each["seconds"], rel=1e-3)


async def test_requests_may_come_at_random_times(fakellama, session_with) -> None:
    found = await run(session_with(), f"--endpoint {fakellama()} --requests 5 --rate 100 --repeats 1 --seed 3")
    (shape,) = found["shapes"]
    assert (shape["concurrency"], shape["rate"], shape["requests"]) == (None, 100.0, 5)


async def test_a_trace_is_sent_again_at_its_own_times(fakellama, session_with, tmp_path: Path) -> None:
    lines = [f'{{"timestamp": {40 * number}, "input_length": {8 + number}, "output_length": 5}}\n' for number in range(4)]
    (tmp_path / "t.jsonl").write_text("".join(lines))
    found = await run(session_with(), f"--endpoint {fakellama()} --mix trace:{tmp_path}/t.jsonl --repeats 2")
    (shape,) = found["shapes"]
    assert (shape["mix"], shape["concurrency"], shape["rate"], shape["requests"]) == ("trace:t.jsonl", None, None, 8)
    for each in shape["runs"]:
        samples = sorted(each["requests"], key=lambda sample: sample["at"])
        assert all(sample["at"] >= 40 * number for number, sample in enumerate(samples))
        assert [sample["tokens"] for sample in samples] == [5] * 4
        assert [sample["prompt_tokens"] for sample in samples] == [8, 9, 10, 11]
    assert problem_of(found) == ""


async def test_the_profile_stands_in_the_measurement_and_may_not_change_any_more(fakellama, session_with) -> None:
    session = session_with()
    found = await run(session, f"--endpoint {fakellama()} --requests 1 --repeats 2 --profile lab-local")
    without = await run(session, f"--endpoint {fakellama()} --requests 1 --repeats 2")
    assert found["profile"]["name"] == "lab-local"
    assert len(found["profile"]["sha256"]) == 64
    shown = await registry.parse_line("profile show lab-local").run(session)
    assert f"bench {found['id']}" in dict(shown.facts)["referred to by"]
    with pytest.raises(UsageError, match="their profiles differ"):
        await registry.parse_line(f"bench compare {found['id']} {without['id']}").run(session)
    with pytest.raises(UsageError, match="no profile is called nowhere"):
        await run(session, "--profile nowhere")


async def test_the_profiles_machines_are_watched(fakellama, session_with, tmp_path: Path) -> None:
    """By ssh, which here runs what it is told on this machine."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text('#!/bin/sh\nfor word; do :; done\nexec sh -c "$word"\n')
    ssh.chmod(0o755)
    session = session_with(PATH=f"{ssh.parent}:{os.environ['PATH']}")
    found = await run(session, f"--endpoint {fakellama('delay_ms=60')} --requests 6 --repeats 1 --profile lab-local --watch")
    said = found["telemetry"]["127.0.0.1"]
    assert said["every"] == 1.0
    assert said["series"][0]["memory"] > 0
    assert problem_of(found) == ""


async def test_own_prompts_are_asked_as_they_are(fakellama, session_with, tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(OWN)
    found = await run(session_with(), f"--endpoint {fakellama()} --mix custom:{tmp_path}/own.jsonl --requests 2 --repeats 1")
    samples = found["shapes"][0]["runs"][0]["requests"]
    assert [(sample["prompt_tokens"], sample["tokens"]) for sample in samples] == [(3, 6), (2, 6)]


async def test_what_was_measured_before_an_interruption_is_kept(fakellama, session_with, tmp_path: Path) -> None:
    session, out = session_with(), tmp_path / "kept.json"
    line = f"--endpoint {fakellama('delay_ms=10')} --requests 500 --repeats 3 --out {out}"
    with session.bus.subscribe(WorkProgressed) as events:
        running = asyncio.create_task(run(session, line))
        async for event in events:
            if (event.done or 0) >= 2:
                break
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    kept = read(out)
    assert not kept.complete
    assert 2 <= kept.points[0].requests < 500
    assert problem_of(json.loads(out.read_text())) == ""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--mix tall", "no mix is called tall"),
        ("--rate 1 --concurrency 2", "not both"),
        ("--concurrency 0", "a list of numbers"),
        ("--limits soon", "no limits are called"),
        ("--requests 0", "--requests is 1 to"),
        ("--model demo --mix long", "needs 1756 tokens of context"),
    ],
)
async def test_what_cannot_be_measured_is_said_before_anything_starts(session_with, line: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        await run(session_with(), line)


@pytest.mark.live
async def test_a_split_over_two_real_workers(session_with, llama_server: Path, ggml_rpc_server: Path, rpc_worker) -> None:
    session = session_with(LLAMA_SERVER=str(llama_server), GGML_RPC_SERVER=str(ggml_rpc_server))
    try:
        await session.add_backends([rpc_worker().endpoint, rpc_worker().endpoint])
        await session.save(distributed_inference_enabled=True)
        found = await run(session, "--model demo --requests 2 --repeats 2 --concurrency 1,2")
        plan = (await registry.parse_line("plan demo").run(session)).as_json()
        explained = (await registry.parse_line(f"explain {found['id']} --concurrency 2").run(session)).as_json()
    finally:
        await session.close()
    assert plan["prediction"]["learned_from"] == 2  # both loads: the one slot writes one answer at a time
    rates = sorted(1000 / shape["tpot"]["mean"] for shape in found["shapes"])
    low, high = plan["prediction"]["tokens_per_second"]
    assert low * 0.9999 <= rates[0] <= rates[1] <= high * 1.0001  # the ends are worked out in another order
    assert explained["measured"]["tokens_per_second"] == pytest.approx(1000 / found["shapes"][1]["tpot"]["mean"])  # one slot
    assert len(explained["busy"]) == 2
    requests = next(said for node, said in found["telemetry"].items() if node.startswith("requests at "))
    assert all({"running", "waiting"} <= each.keys() for each in requests["series"])
    assert found["route"]["via"] == "llama.cpp"
    assert len(found["route"]["backends"]) == 2
    assert found["software"]["engine"] == "llama-server"
    assert len(found["model"]["sha256"]) == 64
    assert found["profile"] is None
    for shape in found["shapes"]:
        assert (shape["errors"], shape["truncated"], shape["cache"]["hits"], shape["cache"]["unknown"]) == (0, 0, 0, 0)
        assert shape["cache"]["prompt_tokens"] > 0
        assert shape["completion_tokens"]["mean"] == 64  # the end of the turn is passed over
        assert 16 <= shape["prompt_tokens"]["mean"] <= 96
        assert shape["throughput"]["mean"] > 0
