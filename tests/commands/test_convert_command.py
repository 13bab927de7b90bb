"""model convert, as it is typed."""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dllama.ggufs import write_gguf
from models.conftest import small_model
from program import run_main

from synaptic.commands import convert, model
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import EngineError, SynapticError, UsageError
from synaptic.events import Event, Noticed, WorkFinished, WorkStarted
from synaptic.results import Note, Result
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
assert convert.registry is model.registry  # the files that declare the commands
DEMO = Path(__file__).parents[2] / "config" / "demo"


@pytest.fixture
def answers() -> list[bool]:
    """To the questions that will be asked."""
    return []


@pytest.fixture
async def session(tmp_path: Path, answers: list[bool]) -> AsyncIterator[Session]:
    settings = Settings.load(tmp_path / "s.json", {})
    settings.save(models_dirs=(tmp_path / "models",))

    async def confirm(question: str) -> bool:
        assert question.startswith("replace ")
        return answers.pop(0)

    environment = Environment({"SYNAPTICLLAMAS_HOME": str(tmp_path)}, io.StringIO(), io.StringIO(), io.StringIO())
    opened = Session(environment, settings, confirm)
    yield opened
    await opened.close()


async def type_line(session: Session, line: str) -> Result:
    return await registry.parse_line(line).run(session)


async def note(session: Session, line: str) -> Note:
    result = await type_line(session, line)
    assert isinstance(result, Note)
    return result


async def test_the_demo_becomes_a_model_that_can_be_used(session: Session, tmp_path: Path) -> None:
    heard: list[Event] = []
    session.bus.tap(heard.append)
    result = await note(session, f"model convert demo --out {tmp_path / 'models'}")
    target = tmp_path / "models" / "demo-q40.m"
    assert result.text == f"{target} and its tokenizer .t are here: 1.9 MiB, the same weights"
    assert (result.hint or "").startswith("try: model use ")
    assert target.read_bytes() == (DEMO / "demo-q40.m").read_bytes()
    assert target.with_suffix(".t").read_bytes() == (DEMO / "demo.t").read_bytes()
    assert (await note(session, "model use demo-q40")).data["path"] == target
    assert not [event for event in heard if isinstance(event, Noticed)]
    assert len([event for event in heard if isinstance(event, WorkFinished)]) == 1


async def test_without_a_folder_it_goes_where_pulled_models_go(session: Session) -> None:
    result = await note(session, "model convert demo --type f32")
    path = result.data["path"]
    assert isinstance(path, Path)
    assert path == session.environment.data_dir / "models" / "demo-f32.m"  # type: ignore[operator]
    assert path.stat().st_size > 9_000_000


async def test_a_model_that_is_there_is_replaced_only_when_wanted(session: Session, answers: list[bool], tmp_path: Path) -> None:
    line = f"model convert demo --out {tmp_path}"
    (tmp_path / "demo-q40.m").write_bytes(b"mine")
    answers += [False, True]
    assert (await note(session, line)).text == "nothing changed"
    assert (tmp_path / "demo-q40.m").read_bytes() == b"mine"
    await note(session, line)
    assert (tmp_path / "demo-q40.m").stat().st_size > 2_000_000


async def test_what_is_lost_is_said(session: Session, tmp_path: Path) -> None:
    heard: list[Event] = []
    session.bus.tap(heard.append)
    path = write_gguf(tmp_path / "a-name-Q5_1.gguf", "qwen3", "Q5_1", template="{{ messages }}")
    result = await note(session, f"model convert {path} --out {tmp_path}")
    assert result.data["path"] == tmp_path / "a-name-q40.m"
    assert "same weights" not in result.text
    texts = [event.text for event in heard if isinstance(event, Noticed)]
    assert any("has no chat template that distributed-llama knows" in text for text in texts)
    assert any("was rounded a second time, from Q5_1" in text for text in texts)


async def test_what_cannot_be_converted_is_said_and_leaves_nothing(session: Session, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    wrong = small_model(tmp_path / "models" / "wrong.gguf")
    with pytest.raises(EngineError, match=r"wrong does not say its llama\.attention\.head_count"):
        await type_line(session, f"model convert wrong --out {tmp_path / 'out'}")
    shutil.copy(DEMO / "demo-q40.m", wrong.with_name("done.m"))
    with pytest.raises(UsageError, match="done is a model of distributed-llama already"):
        await type_line(session, "model convert done")
    (tmp_path / "file").touch()
    with pytest.raises(SynapticError, match=r"cannot be written: not a directory|cannot be written: file exists"):
        await type_line(session, f"model convert demo --out {tmp_path / 'file' / 'below'}")
    assert list((tmp_path / "out").iterdir()) == []


async def test_whoever_cancels_it_leaves_nothing(session: Session, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = write_gguf(tmp_path / "large.gguf", "qwen3", layers=40)
    running = asyncio.create_task(type_line(session, f"model convert {path} --out {out}"))

    def hear(event: Event) -> None:
        if isinstance(event, WorkStarted):
            asyncio.get_running_loop().call_soon(running.cancel)

    session.bus.tap(hear)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not list(tmp_path.glob("out/*"))


def test_from_the_command_line(tmp_path: Path, own_home: Path) -> None:
    done = run_main("model", "convert", "demo", "--out", str(tmp_path), "--json", cwd=own_home)
    assert done.code == 0
    assert (done.json["path"], done.json["lossless"]) == (str(tmp_path / "demo-q40.m"), True)
    assert run_main("model", "convert", "demo", "--type", "q80", cwd=own_home).code == 2
