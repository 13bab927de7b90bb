"""collab, refine, synthesis, strategy and timeout: the original's words, its keys and its bounds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from synaptic.commands import load
from synaptic.commands.collab import collaborates
from synaptic.environment import Environment
from synaptic.errors import EngineError, UsageError
from synaptic.results import Note
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio


class Shell:
    def __init__(self, home: Path) -> None:
        self.path = home / "settings.json"
        environment = Environment({"SYNAPTICLLAMAS_HOME": str(home), "PATH": ""}, sys.stdin, sys.stdout, sys.stderr)
        self.session = Session(environment, Settings.load(self.path, {}))

    async def type(self, line: str) -> Note:
        note = await load().parse_line(line).run(self.session)
        assert isinstance(note, Note)
        return note

    @property
    def saved(self) -> object:
        return json.loads(self.path.read_text())


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize(
    ("line", "saved"),
    [
        ("collab on", {"collaborative_mode": True}),
        ("collab off", {"collaborative_mode": False}),
        ("refine 0", {"refinement_rounds": 0}),
        ("refine 5", {"refinement_rounds": 5}),
        ("synthesis demo", {"synthesis_model": "demo"}),
        ("strategy gpu", {"strategy": "gpu"}),
        ("timeout 30", {"agent_timeout": 30}),
    ],
)
async def test_each_word_is_saved_under_the_originals_key(shell: Shell, line: str, saved: dict[str, object]) -> None:
    note = await shell.type(line)
    assert shell.saved == saved
    assert note.as_json() == {**defaults(), **saved}


@pytest.mark.parametrize("word", ["collab", "refine", "synthesis", "strategy", "timeout"])
async def test_a_word_alone_shows_the_team_and_changes_nothing(shell: Shell, word: str) -> None:
    note = await shell.type(word)
    assert note.as_json() == defaults()
    assert not shell.path.exists()


def defaults() -> dict[str, object]:
    return {"collaborative_mode": False, "refinement_rounds": 1, "synthesis_model": None, "strategy": "auto", "agent_timeout": 300}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("refine 6", "refinement_rounds is a whole number from 0 to 5, not 6"),
        ("refine much", "not a whole number"),
        ("timeout 29", "agent_timeout is a whole number from 30 to 86400, not 29"),
        ("strategy best", "strategy takes auto, single, parallel, multi or gpu"),
        ("collab maybe", "collab takes on or off"),
    ],
)
async def test_what_is_out_of_bounds_changes_nothing(shell: Shell, line: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        await shell.type(line)
    assert not shell.path.exists()


async def test_a_synthesis_model_must_be_one_and_none_forgets_it(shell: Shell) -> None:
    with pytest.raises(EngineError, match="nonesuch"):
        await shell.type("synthesis nonesuch")
    await shell.type("synthesis demo")
    assert "editor demo" in (await shell.type("collab")).text
    await shell.type("synthesis none")
    assert shell.saved == {}


async def test_without_a_word_collab_tells_how_the_team_is_set_up(shell: Shell) -> None:
    note = await shell.type("collab")
    assert note.text == "collab off · strategy auto · 1 refinement · editor with the same model · 300 s for each agent"
    assert note.hint == "one model answers alone. try: collab on"
    assert not shell.path.exists()


async def test_a_team_answers_while_collab_is_on_and_the_strategy_wants_one(shell: Shell) -> None:
    assert not collaborates(shell.session)
    await shell.type("collab on")
    assert collaborates(shell.session)
    assert "alone" in ((await shell.type("strategy single")).hint or "")
    assert not collaborates(shell.session)


async def test_an_old_file_with_values_out_of_bounds_is_kept_and_told_of(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"refinement_rounds": 9, "agent_timeout": 5, "strategy": "dask", "synthesis_model": null, "quality_threshold": 0.7}')
    shell = Shell(tmp_path)
    now = shell.session.settings.now
    assert (now.refinement_rounds, now.agent_timeout, now.strategy, now.synthesis_model) == (1, 300, "auto", None)
    assert [warning.split(": ")[1].split(" ")[0] for warning in shell.session.settings.warnings] == [
        "refinement_rounds",
        "strategy",
        "agent_timeout",
    ]
    await shell.type("collab on")
    assert isinstance(shell.saved, dict)
    assert {"refinement_rounds": 9, "agent_timeout": 5, "strategy": "dask"}.items() <= shell.saved.items()
