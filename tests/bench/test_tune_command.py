"""tune, as it is typed: what it refuses before anything is measured, and how what it found is shown."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from bench.tunes import A, B, machine, named, objective, scene, visit
from dllamas import DEMO_M

from synaptic.bench.result import Identity
from synaptic.bench.tune.candidates import anchor
from synaptic.bench.tune.kept import About, decision_of
from synaptic.bench.tune.run import Budget
from synaptic.bench.tune.values import CONTEXT, PARALLEL, SPLIT, Candidate, Visit
from synaptic.bench.tune.verdict import best, judged
from synaptic.commands import load
from synaptic.commands.tune import Span
from synaptic.commands.tune_shown import applied, shown
from synaptic.commands.tune_work import Outcome, Wish
from synaptic.errors import SynapticError, UsageError
from synaptic.results import Facts
from synaptic.settings.splits import Split

pytestmark = pytest.mark.anyio
registry = load()


@pytest.mark.parametrize(("typed", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_a_budget_is_a_time(typed: str, seconds: float) -> None:
    assert Span.parse(typed).seconds == seconds


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("parallel --budget soon", "a budget is a time"),
        ("parallel --budget 0", "a budget is a time"),
        ("parallel --try few", "a list of numbers"),
        ("parallel --for fun", "throughput or latency"),
        ("parallel --concurrency 0", "--concurrency is 1 to"),
        ("parallel --repeats 2", "with fewer nothing can be judged"),
        ("parallel --concurrency 4 --requests 2", "never has 4 at work at once"),
        ("ctx --limits soon", "no limits are called"),
        ("ctx --mix tall", "no mix is called tall"),
        ("ctx --drift 0", "--drift is a percentage"),
        ("split --on nowhere:x", "nowhere:x"),
    ],
)
async def test_what_cannot_be_is_said_before_anything_starts(session_with, line: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        await registry.parse_line(f"tune {line}").run(session_with())


async def test_without_an_engine_or_workers_it_says_what_is_missing(session_with, tmp_path: Path) -> None:
    session = session_with(PATH=str(tmp_path))
    with pytest.raises(SynapticError) as caught:
        await registry.parse_line("tune split --model demo").run(session)
    assert caught.value.hint
    await session.close()


@pytest.mark.parametrize("distributed", [True, False])
async def test_a_split_over_dllama_workers_alone_is_refused_with_what_it_needs(session_with, builtin_worker, distributed: bool) -> None:
    session = session_with(LLAMA_SERVER=sys.executable, GGML_RPC_SERVER=sys.executable)
    session.settings.for_now(dllama_backends=(builtin_worker().endpoint,), distributed_inference_enabled=distributed)
    for line in ("tune split --model demo", "tune all --model demo"):
        with pytest.raises(UsageError, match="over rpc-servers, and none is known, only 1 dllama worker, for .m models") as caught:
            await registry.parse_line(line).run(session)
        assert caught.value.hint == "try: rpc discover, or: worker start --count 2; for the dllama workers: plan FILE.m"
    await session.close()


async def test_without_any_worker_a_split_is_refused_before_anything_is_looked_at(session_with) -> None:
    session = session_with(LLAMA_SERVER=sys.executable, GGML_RPC_SERVER=sys.executable)
    with pytest.raises(UsageError, match="rpc-servers, and none is known$") as caught:
        await registry.parse_line("tune split --model demo").run(session)
    assert caught.value.hint == "try: rpc discover, or: worker start --count 2"
    await session.close()


async def test_what_the_built_in_engine_runs_is_not_tuned_and_it_says_what_does_that(session_with) -> None:
    session = session_with(PATH="")
    for line in ("tune split", "tune parallel", "tune ctx"):
        with pytest.raises(UsageError, match=r"is run by the built-in engine.*tune measures llama.cpp") as caught:
            await registry.parse_line(f"{line} --model {DEMO_M}").run(session)
        assert caught.value.hint == f"try: dllama check --verify, then: plan {DEMO_M}"
    await session.close()


def outcome(kind: str, candidate: Candidate, visits: list[Visit]) -> Outcome:
    goal, now = objective(), dataclasses.replace(anchor(scene([machine(A)])), name="now")
    measured = {"now": [visit(each) for each in (1.0, 1.01, 0.99)]} | ({candidate.name: visits} if visits else {})
    verdicts, wish = judged(now, [candidate], measured, goal), Wish(kind, goal, 8, Budget(600, 5, 0.15), 1)
    decision = decision_of(About(kind, Identity("big", None), "b1", goal, 8, 1), now, verdicts, best(verdicts), measured, {})
    return Outcome(wish, now, verdicts, best(verdicts), measured, {"now": "id-1", candidate.name: "id-2"}, decision, 61.0, 2)


BETTER = [visit(each) for each in (0.5, 0.51, 0.49)]
SLOTS = dataclasses.replace(named("parallel 4", 4), settings=(("parallel", 4),))
HALVES = dataclasses.replace(named("layers …", 2), settings=(("splits", (Split("big", ((A, 16), (B, 16))),)),))


def test_a_proposal_is_shown_with_its_figures_its_evidence_and_how_it_is_applied() -> None:
    found = shown([outcome(PARALLEL, SLOTS, BETTER)], is_applied=False)
    told = {label: str(getattr(value, "text", value)) for label, value in found.facts}
    assert told["proposal"].startswith("parallel 4: 2.00 times as good as now (1.")
    assert told["aim"] == "the most requests/s within ttft without limit, tpot without limit, 4 at once, mix short"
    assert "2 more discarded" in told["measured"]
    assert found.summary == "to apply it: config set parallel 4"
    document = json.loads(json.dumps(found.as_json()))
    assert (document["proposal"], document["applied"]) == ({"parallel": 4}, False)
    (now, other) = document["tunings"][0]["candidates"]
    assert (now["verdict"], now["measurement"], other["verdict"], other["measurement"]) == ("the anchor", "id-1", "better", "id-2")
    assert now["prediction_error"] is not None
    assert other["ci95"][0] < other["ratio"] < other["ci95"][1]


async def test_how_a_split_is_applied_can_be_typed_as_it_is_shown(session_with) -> None:
    found = shown([outcome(SPLIT, HALVES, BETTER)], is_applied=False)
    session = session_with()
    await registry.parse_line(found.summary.removeprefix("to apply it: ")).run(session)
    assert session.settings.now.splits == dict(HALVES.settings)["splits"]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([outcome(PARALLEL, SLOTS, [visit(each) for each in (1.0, 1.02, 0.98)])], "nothing measured is better by more than chance"),
        ([outcome(PARALLEL, SLOTS, [])], "too few visits count to tell: this machine is too unsteady now"),
        ([dataclasses.replace(outcome(PARALLEL, SLOTS, []), verdicts=[])], "there is nothing else to try"),
        ([dataclasses.replace(outcome(CONTEXT, SLOTS, []), visits={})], "nothing of what could be tried is worth measuring"),
    ],
)
def test_where_nothing_is_proposed_it_says_why(found: list[Outcome], why: str) -> None:
    facts = shown(found, is_applied=False)
    assert isinstance(facts, Facts)
    (label, text) = facts.facts[-1]
    assert label == "proposal"
    assert text.text.startswith(f"none: {why}")
    assert facts.as_json()["proposal"] is None


@pytest.mark.parametrize("agrees", [True, False])
async def test_it_is_applied_only_when_the_user_agrees(session_with, agrees: bool) -> None:
    session = session_with()

    async def answer(question: str) -> bool:
        assert question.startswith("parallel 4: 2.00 times as good as now")
        return agrees

    session.confirm = answer
    assert await applied(session, [outcome(PARALLEL, SLOTS, BETTER)]) is agrees
    assert session.settings.now.parallel == (4 if agrees else None)


async def test_where_nobody_can_be_asked_nothing_changes(session_with) -> None:
    session = session_with()
    assert not await applied(session, [outcome(PARALLEL, SLOTS, BETTER)])
    assert session.settings.now.parallel is None
