from __future__ import annotations

import sys
from pathlib import Path

import pytest

from synaptic.commands import load
from synaptic.environment import Environment
from synaptic.errors import BackendError
from synaptic.events import WorkStarted
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def session(tmp_path: Path) -> Session:
    environment = Environment({"SYNAPTICLLAMAS_HOME": str(tmp_path), "PATH": ""}, sys.stdin, sys.stdout, sys.stderr)
    return Session(environment, Settings.load(tmp_path / "settings.json", {}))


async def test_without_workers_the_user_is_asked_before_anything_is_looked_for(session: Session) -> None:
    asked: list[str] = []

    async def no(question: str) -> bool:
        asked.append(question)
        return False

    session.confirm = no
    with pytest.raises(BackendError, match="no workers are known"):
        await load().parse_line("distributed on").run(session)
    assert asked == ["no workers are known. look for some on this machine's networks?"]
    assert not [event for event in session.bus.history if isinstance(event, WorkStarted)]


async def test_where_nobody_can_be_asked_nothing_is_looked_for(session: Session) -> None:
    with pytest.raises(BackendError, match="no workers are known") as caught:
        await load().parse_line("distributed on").run(session)
    assert "rpc discover" in str(caught.value.hint)
    assert not session.settings.now.distributed_inference_enabled


async def test_without_a_word_it_is_told_and_nothing_is_looked_for_or_changed(session: Session, tmp_path: Path) -> None:
    note = await load().parse_line("distributed").run(session)
    assert note.as_json() == {"distributed": False, "ready": 0}
    assert "distributed on" in str(note.hint)
    assert not (tmp_path / "settings.json").exists()


@pytest.mark.parametrize("word", ["off", "task"])
async def test_off_needs_nobody(session: Session, word: str) -> None:
    await load().parse_line(f"distributed {word}").run(session)
    assert not session.settings.now.distributed_inference_enabled
