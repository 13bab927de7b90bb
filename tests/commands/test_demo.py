"""The first thing a new user runs, where no engine program is installed: what it says, and what can be done with it then."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from synaptic.commands import load
from synaptic.engines.running_root import HERE
from synaptic.environment import Environment
from synaptic.errors import UsageError
from synaptic.planning.speeds import Speeds
from synaptic.results import Facts, Note, Outcome, Result, Rows, Stream
from synaptic.session import Session
from synaptic.settings import Settings

pytest.importorskip("numpy")
pytestmark = pytest.mark.anyio
registry = load()


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    variables = {"SYNAPTICLLAMAS_HOME": str(tmp_path), "PATH": "", "OLLAMA_HOST": "127.0.0.1:1"}
    made = Session(Environment(variables, *(io.StringIO() for _ in range(3))), Settings.load(tmp_path / "settings.json", {}))
    yield made
    await made.close()


async def typed(session: Session, line: str) -> Result:
    return await registry.parse_line(line).run(session)


async def answered(session: Session, line: str) -> tuple[Stream, Outcome]:
    stream = await typed(session, line)
    assert isinstance(stream, Stream)
    text = "".join([piece async for piece in stream.pieces])
    assert text.startswith("Distributed inference runs one language model")
    return stream, stream.outcome()


async def test_it_leads_on_and_the_built_in_engine_is_a_coordinator_like_any_other(session: Session) -> None:
    stream, outcome = await answered(session, "demo")
    assert "builtin · 2 workers" in stream.head
    assert outcome.error is None
    assert outcome.hint
    assert outcome.hint.startswith("next: ask it")
    assert "engine install llama.cpp" in outcome.hint
    for line in ("coordinator restart", "coordinator start demo"):
        note = await typed(session, line)
        assert isinstance(note, Note)
        assert note.text.startswith("demo is ready · builtin · "), line
    listed = await typed(session, "coordinator list")
    assert isinstance(listed, Rows)
    assert [each.engine for each in listed.items] == ["builtin"]
    stopped = await typed(session, "coordinator stop")
    assert isinstance(stopped, Note)
    assert stopped.text == "stopped demo"


async def test_more_workers_are_taken_also_when_the_model_is_loaded_over_fewer(session: Session) -> None:
    await answered(session, "demo --workers 1")
    stream, _ = await answered(session, "demo --workers 3")
    assert "loaded there already" not in stream.head, "planned anew, with all three"
    assert "builtin · 3 workers" in stream.head
    said = await typed(session, "status")
    assert isinstance(said, Facts)
    assert "workers" not in dict(said.facts), "there are some: nobody has to look for any"
    assert dict(said.facts)["dllama"] == "3 of 3 workers there"
    looked = await typed(session, "doctor")
    assert isinstance(looked, Rows)
    assert [check.mark for check in looked.items if check.detail.startswith("dllama worker")] == ["✓"] * 3
    assert "workers" not in [check.what for check in looked.items]


async def test_every_worker_holds_a_layer_however_slow_it_is(session: Session) -> None:
    await answered(session, "demo --workers 3")
    measured, folder = session.dllama_speeds.known(), session.environment.state_dir
    assert folder
    slow = max(measured)
    Speeds(folder / "dllama-speeds.json").note({slow: dataclasses.replace(measured[slow], bandwidth=1e6)})
    await typed(session, "coordinator restart")
    (root,) = session.roots.all()
    layers = {each.node: each.last - each.first for each in root.held if each.node != HERE}
    assert layers[str(slow)] == 1
    assert sorted(layers.values()) == [1, 1, 2]


@pytest.mark.parametrize("many", [0, -1, 1000])
async def test_a_number_of_workers_that_no_machine_starts_is_refused(session: Session, many: int) -> None:
    with pytest.raises(UsageError, match=f"--workers is 1 to 16, not {many}"):
        await typed(session, f"demo --workers {many}")
