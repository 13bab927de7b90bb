"""tune, as it is typed, with real workers: one that is slow, one at the end of a cable of which the length is known."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import HERE
from dllama.ggufs import write_gguf
from grown import grown

from synaptic.bench.kept import read
from synaptic.bench.tune.verdict import ALIKE
from synaptic.commands import load
from synaptic.endpoint import Endpoint
from synaptic.errors import EngineError
from synaptic.events import Noticed, WorkProgressed
from synaptic.process.child import State
from synaptic.results import Facts
from synaptic.session import Session
from synaptic.settings.splits import Split

pytestmark = [pytest.mark.anyio, pytest.mark.live, pytest.mark.timeout(300)]
registry = load()
PROMPTS = '{"prompt": "one two three", "max_tokens": 12}\n'
CALM = "--repeats 4 --drift 1000 --budget 5m --limits none"


async def run(session: Session, line: str) -> dict:
    result = await registry.parse_line(line).run(session)
    assert isinstance(result, Facts)
    return json.loads(json.dumps(result.as_json()))


@pytest.fixture
def companion() -> Iterator[Callable[..., int]]:
    """Starts a little program; what it says after `port`."""
    running: list[subprocess.Popen[str]] = []

    def start(name: str, *words: str) -> int:
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, str(HERE / "fakes" / name), *words], stdin=pipe, stdout=pipe, text=True)
        running.append(process)
        return int(process.stdout.readline().split()[1])

    yield start
    for process in running:
        process.stdin.close()
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def world(session_with, llama_server: Path, ggml_rpc_server: Path, tmp_path: Path) -> Callable[..., Session]:
    """A session with these workers, a model written on the spot, and prompts with short answers."""

    async def make(*workers: Endpoint) -> Session:
        session = session_with(LLAMA_SERVER=str(llama_server), GGML_RPC_SERVER=str(ggml_rpc_server))
        write_gguf(tmp_path / "small.gguf", "llama", layers=4)
        (tmp_path / "own.jsonl").write_text(PROMPTS)
        await session.remove_backends(session.settings.now.rpc_backends)
        await session.add_backends(workers)
        await session.save(distributed_inference_enabled=True, models_dirs=(tmp_path,), threads=1)
        return session

    return make


@pytest.mark.parametrize("round_trip", [0, 10])
async def test_a_worker_is_chosen_only_while_it_is_near(world, rpc_worker, companion, tmp_path: Path, round_trip: int) -> None:
    """Of two alike, one is 4 ms away. The other one should hold the model alone while it stands beside us, and nothing of it 10 ms away."""

    def cabled(milliseconds: float) -> Endpoint:
        words = (str(rpc_worker().endpoint.port), "--delay", str(milliseconds / 2))
        return Endpoint("127.0.0.1", companion("delayproxy.py", *words))

    fixed, other = cabled(4), cabled(round_trip)
    session = await world(fixed, other)
    await session.save(splits=(Split("small", ((fixed, 2), (other, 2))),))
    try:
        found = await run(session, f"tune split --model small --on {fixed},{other} --mix custom:{tmp_path}/own.jsonl --requests 2 {CALM}")
    finally:
        await session.close()
    (tuning,) = found["tunings"]
    right = fixed if round_trip else other
    assert tuning["now"].endswith(f"on {fixed} 2 + {other} 2"), "the split that the settings name is where it starts"
    assert tuning["chosen"] == f"layers {right} 4", json.dumps(tuning["candidates"], indent=1)
    assert found["proposal"] == {"splits": [f"small {right}=4"]}
    assert not found["applied"], "nobody could be asked"


async def test_more_slots_are_worth_it_only_where_something_else_is_waited_for(world, rpc_worker, companion, tmp_path: Path) -> None:
    """Where one processor computes all the time, four answers take it four times as long, if not more; a network is waited for once."""
    grown(tmp_path / "grown.gguf", layers=6, width=512, forward=1408)
    ratios = []
    for delay in (0, 5):
        session = await world(Endpoint("127.0.0.1", companion("delayproxy.py", str(rpc_worker().endpoint.port), "--delay", str(delay))))
        try:
            await session.save(context=256)
            load = f"--concurrency 4 --requests 4 --try 1,4 --mix custom:{tmp_path}/own.jsonl"
            found = await run(session, f"tune parallel --model grown {load} {CALM}")
        finally:
            await session.close()
        (tuning,) = found["tunings"]
        assert tuning["now"].count("127.0.0.1") == 1
        ratios.append(tuning["candidates"][1]["ratio"])
        best = (
            "parallel 4" if tuning["candidates"][1]["verdict"] == "better" else None
        )  # how much better near by, others on this machine decide
        assert tuning["chosen"] in (None, best), json.dumps(tuning["candidates"], indent=1)
    near, far = ratios
    assert far > near


@pytest.fixture
async def far(world, rpc_worker, companion):
    """A session whose only worker is 10 ms away."""
    session = await world(Endpoint("127.0.0.1", companion("delayproxy.py", str(rpc_worker().endpoint.port), "--delay", "5")))
    yield session
    await session.close()


async def test_slots_are_proposed_where_a_network_is_waited_for_and_applied_when_the_user_agrees(far, tmp_path: Path) -> None:
    """Of 10 ms a token costs, four answers at once share each round trip."""
    asked: list[str] = []

    async def agrees(question: str) -> bool:
        asked.append(question)
        return True

    far.confirm = agrees
    found = await run(far, f"tune parallel --model small --concurrency 4 --try 1,4 --mix custom:{tmp_path}/own.jsonl {CALM}")
    (tuning,) = found["tunings"]
    (now, other) = tuning["candidates"]
    assert (tuning["chosen"], found["proposal"], found["applied"]) == ("parallel 4", {"parallel": 4}, True)
    assert other["ratio"] > 1.5
    assert len(asked) == 1
    assert "parallel 4" in asked[0]
    assert (await far.answering.route("small")).plan.slots == 4, "the next prompt is answered so"
    assert not far.coordinators.up(), "what was started to measure has ended"
    await decided(far, tuning, [now["measurement"], other["measurement"]])


async def decided(session: Session, tuning: dict, evidence: list[str]) -> None:
    """The decision rests on the two measurements, and says what they say when it is worked out again."""
    assert tuning["decision"]["evidence"] == evidence
    verdicts = await registry.parse_line("decision verify").run(session)
    (judged,) = [each for each in verdicts.items if each.decision.name == "tune-parallel-small"]
    assert judged.verdict == "confirmed", judged.why
    predicted = [record.source for record in session.predictions.all()]
    assert predicted == evidence, "what was predicted is kept beside what came"


async def test_an_interruption_keeps_what_was_measured_and_leaves_no_process(far, tmp_path: Path) -> None:
    line = f"tune parallel --model small --concurrency 2 --mix custom:{tmp_path}/own.jsonl {CALM}"
    with far.bus.subscribe(WorkProgressed) as events:
        running = asyncio.create_task(run(far, line))
        async for event in events:
            if event.unit == "visits" and (event.done or 0) >= 3:
                break
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not far.coordinators.up()
    (said,) = [event.text for event in far.bus.history if isinstance(event, Noticed) and "is kept" in event.text]
    kept = sorted((far.environment.state_dir / "bench").glob("*.json"))
    results = [read(path) for path in kept]
    assert [result.complete for result in results] == [False, False]
    assert all(result.id in said for result in results)
    assert not (far.environment.state_dir / "bench" / "decisions").exists(), "nothing was decided"


async def test_nobody_who_is_being_answered_is_disturbed(far) -> None:
    route = await far.answering.route("small")
    serving = await far.coordinators.ensure(route.plan)
    serving.generating += 1
    try:
        with pytest.raises(EngineError, match="small is answering"):
            await run(far, "tune parallel --model small")
        assert serving.state is State.READY
    finally:
        serving.generating -= 1


async def test_a_longer_context_is_measured_with_what_it_takes_of_memory(world, rpc_worker, tmp_path: Path) -> None:
    session = await world(rpc_worker().endpoint)
    write_gguf(tmp_path / "small.gguf", "llama", layers=4, context_length=4096)
    try:
        await session.save(context=512)
        found = await run(session, f"tune ctx --model small --try 1024,4096,99999 --mix custom:{tmp_path}/own.jsonl {CALM}")
    finally:
        await session.close()
    held = {each["name"]: each["kv_bytes"] for each in found["tunings"][0]["candidates"]}
    assert held == {"now": held["now"], "ctx 1024": 2 * held["now"], "ctx 4096": 8 * held["now"]}
    assert held["now"] > 0
    assert {each["verdict"] for each in found["tunings"][0]["candidates"]} <= {"the anchor", "better", "worse", ALIKE}
