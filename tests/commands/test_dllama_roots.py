"""What a user types around the built-in root: measuring, planning, loading, looking, parking and stopping, over real workers."""

from __future__ import annotations

import io
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dllamas import DEMO_M, HOST
from ports import free_port

from synaptic.commands import coordinator, dllama, dllama_park, dllama_root, explain, plan, status, worker  # noqa: F401 - declares them
from synaptic.commands.registry import registry
from synaptic.dllama.header import read_header
from synaptic.dllama.local import needs
from synaptic.engines.answer import Reply
from synaptic.engines.engine import Message
from synaptic.environment import Environment
from synaptic.errors import BackendError, UsageError
from synaptic.session import Session
from synaptic.settings import Settings

pytest.importorskip("numpy")
pytestmark = pytest.mark.anyio


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    """No engine program is installed."""
    variables = {"SYNAPTICLLAMAS_HOME": str(tmp_path), "PATH": ""}
    made = Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(tmp_path / "settings.json", {}))
    yield made
    await made.close()


async def typed(session: Session, line: str) -> dict[str, object]:
    """As --json shows it."""
    result = await registry.parse_line(line).run(session)
    document = json.loads(json.dumps(result.as_json()))
    assert isinstance(document, dict)
    return document


async def test_the_speed_that_verify_measures_is_shown_kept_and_used(session: Session, builtin_worker):
    workers = [builtin_worker() for _ in range(2)]
    await typed(session, f"dllama add {' '.join(str(each.endpoint) for each in workers)}")
    before = await typed(session, f"plan {DEMO_M} --split layers")
    assert before["prediction"]["is_assumed"] is True
    checked = await typed(session, "dllama check --verify")
    assert all(each["gmacs"] > 0.01 and each["gigabytes"] > 0.005 for each in checked["backends"])
    listed = await typed(session, "dllama list")
    assert [each["gmacs"] for each in listed["backends"]] == [each["gmacs"] for each in checked["backends"]]
    after = await typed(session, f"plan {DEMO_M} --split layers")
    assert after["prediction"]["is_assumed"] is False
    assert after["fits"] is True
    held = [each for each in after["shares"] if each["layers"]]
    assert [each["first"] for each in held] == [0, *(each["last"] + 1 for each in held[:-1])]
    assert held[-1]["last"] == 3
    assert {each["change"] for each in after["alternatives"]} == {"--split tensor", "--split none"}


async def test_plan_says_why_shares_of_every_layer_are_impossible(session: Session, builtin_worker):
    workers = [builtin_worker() for _ in range(2)]
    named = ",".join(str(each.endpoint) for each in workers)
    await typed(session, f"dllama add {named.replace(',', ' ')}")
    document = await typed(session, f"plan {DEMO_M} --on {named}")
    assert document["split"] == "layers"
    assert "do not divide by 3 (here and 2 workers)" in document["not_tensor"]
    forced = await typed(session, f"plan {DEMO_M} --on {named} --split tensor")
    assert (forced["split"], len(forced["shares"]), len(forced["dropped"])) == ("tensor", 2, 1)


async def test_without_workers_it_is_this_machine(session: Session):
    document = await typed(session, f"plan {DEMO_M}")
    assert (document["split"], document["why"], document["shares"][0]["endpoint"]) == ("none", "this machine alone", None)


@pytest.mark.parametrize("words", ["--probe", "--profile arc-a770", "--parallel 2"])
async def test_what_is_for_llama_cpp_alone_is_refused(session: Session, words: str):
    with pytest.raises(UsageError):
        await typed(session, f"plan {DEMO_M} {words}")


async def test_a_split_is_for_models_of_this_kind(session: Session):
    session.settings.for_now(via="llama.cpp")
    with pytest.raises(UsageError, match="--split is for .m models"):
        await typed(session, "plan demo --split layers")


async def test_the_shipped_model_is_planned_over_the_workers_that_a_prompt_for_it_would_take(session: Session, builtin_worker):
    await typed(session, f"dllama add {' '.join(str(builtin_worker().endpoint) for _ in range(3))}")
    session.settings.for_now(distributed_inference_enabled=True, dllama_split="layers")
    document = await typed(session, "plan demo")
    route = await session.answering.route("demo")
    assert document["engine"] == route.via
    assert route.plan
    assert [each["endpoint"] for each in document["shares"] if each["layers"]] == [str(each) for each in route.plan.workers]
    assert len(route.plan.workers) == 3


async def test_a_named_worker_that_is_not_there_is_an_error(session: Session):
    with pytest.raises(BackendError, match=f"{HOST}:.* is not there"):
        await typed(session, f"plan {DEMO_M} --on {HOST}:{free_port(HOST)}")


async def test_a_running_root_is_a_coordinator_among_the_others(session: Session, builtin_worker):
    workers = [builtin_worker() for _ in range(2)]
    await typed(session, f"dllama add {' '.join(str(each.endpoint) for each in workers)}")
    loaded = await typed(session, f"dllama root {DEMO_M} --split layers")
    (listed,) = (await typed(session, "coordinator list"))["coordinators"]
    assert listed == loaded["coordinator"]
    assert (listed["engine"], listed["state"], listed["pid"], listed["owner"]) == ("builtin", "ready", os.getpid(), os.getpid())
    assert sum(share["layers"] for share in listed["placement"]) == 4
    assert set(listed["backends"]) <= {str(each.endpoint) for each in workers}
    shown = await typed(session, "status")
    assert shown["coordinators"] == [listed]
    snapshot = session.snapshot()
    assert (snapshot.coordinator, snapshot.coordinator_state, snapshot.coordinator_model) == ("builtin", "ready", listed["model"])
    route = await session.answering.route(listed["model"])
    assert (route.via, route.why) == ("builtin", "loaded there already"), "though distributed is off: it was asked for"
    assert (await typed(session, f"coordinator stop {listed['model']}")) == {"stopped": [listed["model"]]}
    assert (await typed(session, "coordinator list"))["coordinators"] == []
    assert all(each["state"] == "idle" for each in (await typed(session, "dllama check --verify"))["backends"])


async def test_explain_shows_what_a_token_cost_at_each_node(session: Session, builtin_worker):
    one = builtin_worker()
    await typed(session, f"dllama add {one.endpoint}")
    await typed(session, f"dllama root {DEMO_M} --split layers")
    async for _ in Reply(session.answering, await session.answering.route(str(DEMO_M)), (Message("user", "What is a worker?"),)).pieces():
        pass
    document = await typed(session, "explain")
    assert document["root"]["answer"]["tokens"] > 3
    shown = await registry.parse_line("explain").run(session)
    facts = {label.strip(): str(value) for label, value in shown.facts}
    assert "ms computing here" in facts["each token"]
    assert "waiting for the workers" in facts["each token"]
    assert "back" in facts[str(one.endpoint)]


@pytest.mark.parametrize("split", ["layers", "tensor"])
async def test_explain_puts_what_was_predicted_beside_what_was_measured(session: Session, builtin_worker, split: str):
    one = builtin_worker()
    await typed(session, f"dllama add {one.endpoint}")
    await typed(session, "dllama check --verify")  # which measures its speed
    await typed(session, f"dllama root {DEMO_M} --split {split}")
    async for _ in Reply(session.answering, await session.answering.route(str(DEMO_M)), (Message("user", "What is a worker?"),)).pieces():
        pass
    document = await typed(session, "explain")
    there, here, *beyond = document["terms"]
    assert str(one.endpoint) in there["what"]
    whole = sum(seconds for _, seconds in document["prediction"]["terms"])
    assert there["predicted"] + here["predicted"] == pytest.approx(1000 * whole)
    step = 1000 / document["measured"]["tokens_per_second"]
    seen = there["measured"] + here["measured"]
    assert seen + sum(each["measured"] for each in beyond) == pytest.approx(max(step, seen))
    assert there["measured"] > 0
    assert "of each token as measured" in document["bottleneck"]
    shown = await registry.parse_line("explain").run(session)
    assert [name for name, _ in shown.tables] == ["terms", "fixes"]


async def test_a_lost_worker_is_named_until_the_next_start(session: Session, builtin_worker):
    workers = {str(each.endpoint): each for each in (builtin_worker(), builtin_worker())}
    await typed(session, f"dllama add {' '.join(workers)}")
    loaded = await registry.parse_line(f"dllama root {DEMO_M} --split layers").run(session)
    assert "a run of layers for each of 2 workers, as long as it is fast, which is measured first" in loaded.text
    (listed,) = (await typed(session, "coordinator list"))["coordinators"]
    lost = next(share["endpoint"] for share in listed["placement"] if share["layers"])
    workers[lost].kill()
    async for _ in Reply(session.answering, await session.answering.route(str(DEMO_M)), (Message("user", "hello"),)).pieces():
        pass
    route = await session.answering.route(str(DEMO_M))
    assert route.why == f"loaded there already; without {lost}, which was lost"


async def test_explain_shows_what_came_from_disk(session: Session):
    least = needs(read_header(DEMO_M)).least  # so that one layer is there at a time
    loaded = await registry.parse_line(f"dllama root {DEMO_M} --split none --memory {least / 1024 + 1:.0f}KiB").run(session)
    assert loaded.text.endswith("4 layers read from the file in turn, for every token")
    (listed,) = (await typed(session, "coordinator list"))["coordinators"]
    assert listed["state"] == "ready"
    async for _ in Reply(session.answering, await session.answering.route(str(DEMO_M)), (Message("user", "What is a worker?"),)).pieces():
        pass
    document = await typed(session, "explain")
    storage = document["root"]["storage"]
    assert 0 <= storage["hits"] < storage["layers"]
    shown = await registry.parse_line("explain").run(session)
    facts = dict(shown.facts)
    assert "of the layers were in memory" in facts["from disk"]
    assert "predicted" not in facts


async def test_coordinator_start_and_restart_take_a_model_of_this_kind(session: Session, builtin_worker):
    """dllama-api is not installed here, so our own root takes it."""
    one = builtin_worker()
    await typed(session, f"dllama add {one.endpoint}")
    session.settings.for_now(distributed_inference_enabled=True)
    started = await typed(session, f"coordinator start {DEMO_M}")
    assert started["coordinator"]["engine"] == "builtin"
    again = await typed(session, "coordinator restart")
    assert again["coordinator"]["backends"] == [str(one.endpoint)]


async def test_a_restart_keeps_the_split_that_was_asked_for(session: Session, builtin_worker):
    """Though distributed is off. Of two workers the slow one may get no layers: both are measured, and the machine is busy."""
    one, two = builtin_worker(), builtin_worker()
    await typed(session, f"dllama add {one.endpoint}")
    loaded = await registry.parse_line(f"dllama root {DEMO_M} --split layers").run(session)
    assert loaded.hint == f"model use {DEMO_M} sends your prompts there"
    await typed(session, f"dllama add {two.endpoint}")
    again = await typed(session, "coordinator restart")
    assert again["coordinator"]["backends"]
    assert {str(one.endpoint), str(two.endpoint)}.issuperset(again["coordinator"]["backends"])


async def test_workers_are_parked_and_let_go(session: Session, builtin_worker):
    one, two = builtin_worker(), builtin_worker()
    absent = f"{HOST}:{free_port(HOST)}"
    await typed(session, f"dllama add {one.endpoint} {two.endpoint} {absent}")
    parked = await typed(session, "dllama park")
    assert set(parked["parked"]) == {str(one.endpoint), str(two.endpoint)}
    assert [each["endpoint"] for each in parked["others"]] == [absent]
    assert await typed(session, f"dllama unpark {one.endpoint}") == {"unparked": [str(one.endpoint)]}
    with pytest.raises(BackendError, match="not parked here"):
        await typed(session, f"dllama unpark {one.endpoint}")
    assert await typed(session, "dllama unpark") == {"unparked": [str(two.endpoint)]}
    with pytest.raises(BackendError, match="no worker could be parked"):
        await typed(session, f"dllama park {absent}")


async def test_leaving_frees_parked_workers(session: Session, builtin_worker):
    one = builtin_worker()
    await typed(session, f"dllama add {one.endpoint}")
    await typed(session, "dllama park")
    await session.close()
    assert session.dllama.parking.parked == []
    (proved,) = await session.dllama.prove()
    assert proved.state.value == "idle"


async def test_a_worker_of_this_machine_reads_its_own_model(session: Session):
    line = f"worker start --engine builtin --host {HOST} --port {free_port(HOST)} --threads 1 --model {DEMO_M}"
    await typed(session, line)
    loaded = await typed(session, f"dllama root {DEMO_M} --split layers")
    assert any("no weights are sent" in str(getattr(event, "text", "")) for event in session.bus.history)
    assert len(loaded["workers"]) == 1
    assert [share["from_file"] for share in loaded["coordinator"]["placement"] if share["layers"]] == [True]
    shown = await registry.parse_line("coordinator list").run(session)
    assert shown.columns["layers"](shown.items[0]).endswith("4 (own file)")
    await typed(session, "worker stop")


@pytest.mark.parametrize(("words", "why"), [("--engine llama.cpp", "--model is for builtin workers"), ("--engine builtin", "cannot read")])
async def test_a_model_that_no_worker_could_read_is_refused(session: Session, words: str, why: str):
    with pytest.raises(UsageError, match=why):
        await typed(session, f"worker start {words} --model nowhere.m")
