"""config show, set, reset and path, as they are typed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from synaptic.commands import config
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import UsageError
from synaptic.events import Event, SettingChanged
from synaptic.results import Json, Note, Result, Rows
from synaptic.session import Session, cannot_ask
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio


class Shell:
    """Types lines at a session, and answers its questions."""

    def __init__(self, path: Path | None, answer: bool | None = None, variables: dict[str, str] | None = None) -> None:
        environment = Environment(variables or {}, io.StringIO(), io.StringIO(), io.StringIO())
        settings = Settings.load(path, environment.variables)

        async def confirm(question: str) -> bool:
            return bool(answer)

        self.session = Session(environment, settings, cannot_ask if answer is None else confirm)
        self.changes: list[tuple[str, object]] = []
        self.session.bus.tap(self._hear)

    async def type(self, line: str) -> Result:
        return await registry.parse_line(line).run(self.session)

    def _hear(self, event: Event) -> None:
        if isinstance(event, SettingChanged):
            self.changes.append((event.key, event.value))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.json"


def document(result: Result) -> dict[str, Json]:
    assert isinstance(result, Note | Rows)
    answer = result.as_json()
    assert isinstance(answer, dict)
    return answer


def told(result: Result) -> Note:
    assert isinstance(result, Note)
    return result


async def test_show_tells_each_value_and_where_it_comes_from(path: Path) -> None:
    path.write_text('{"model": "x", "threads": "many"}')
    shown = await Shell(path, variables={"LLAMA_RPC_BACKENDS": "a:1"}).type("config show")
    assert isinstance(shown, Rows)
    assert list(shown.columns)[:3] == ["setting", "value", "from"]
    lines = [[cell.text for cell in line] for line in shown.cells()]
    assert ["model", "x", "file", ""] in lines
    assert ["rpc_backends", "a:1", "env", ""] in lines
    assert ["distributed_inference_enabled", "off", "default", ""] in lines
    assert ["start_seconds", "60", "default", ""] in lines
    assert any("many" in line[3] for line in lines)
    answer = document(shown)
    assert answer["path"] == str(path)
    assert isinstance(answer["settings"], list)
    assert {"key": "rpc_backends", "value": ["a:1"], "from": "env", "note": ""} in answer["settings"]


async def test_set_saves_and_tells_everybody(path: Path) -> None:
    shell = Shell(path)
    assert document(await shell.type("config set system_prompt be very  brief")) == {
        "key": "system_prompt",
        "value": "be very brief",
        "from": "file",
        "saved": True,
    }
    await shell.type("config set temperature 0.5")
    assert told(await shell.type("config set temperature default")).text == "temperature is – (the default)"
    assert shell.changes == [("system_prompt", "be very brief"), ("temperature", 0.5), ("temperature", None)]
    assert Settings.load(path, {}).now.system_prompt == "be very brief"


async def test_set_of_an_unknown_key_or_a_wrong_value_changes_nothing(path: Path) -> None:
    shell = Shell(path)
    for line in ("config set threds 4", "config set threads four", "config set threads"):
        with pytest.raises(UsageError):
            await shell.type(line)
    assert not path.exists()
    assert shell.changes == []


async def test_set_without_a_home_says_that_it_is_not_saved() -> None:
    done = told(await Shell(None).type("config set threads 4"))
    assert "not saved" in (done.hint or "")
    assert done.data == {"key": "threads", "value": 4, "from": "file", "saved": False}


async def test_set_that_meets_a_broken_file_says_where_it_went(path: Path) -> None:
    shell = Shell(path)
    path.write_text("{")
    assert "corrupt" in (told(await shell.type("config set threads 4")).hint or "")


async def test_reset_of_one_key_needs_no_question(path: Path) -> None:
    path.write_text('{"model": "x", "threads": 4}')
    shell = Shell(path)
    assert document(await shell.type("config reset model seed")) == {"reset": ["model"]}
    assert shell.changes == [("model", None)]
    assert Settings.load(path, {}).now.threads == 4


async def test_reset_of_everything_asks_and_names_the_backup(path: Path) -> None:
    path.write_text('{"model": "x", "threads": 4}')
    with pytest.raises(UsageError, match="nobody to ask"):
        await Shell(path).type("config reset")
    assert document(await Shell(path, answer=False).type("config reset")) == {"reset": []}
    assert Settings.load(path, {}).now.model == "x"
    note = told(await Shell(path, answer=True).type("config reset"))
    assert f"{path}.bak" in (note.hint or "")
    assert Settings.load(path, {}).now.model is None


async def test_path_names_the_file(path: Path) -> None:
    assert document(await Shell(path).type("config path")) == {"path": str(path)}
    assert document(await Shell(None).type("config path")) == {"path": None}


async def test_keys_complete_with_their_values(path: Path) -> None:
    shell = Shell(path)
    await shell.type("config set model x")
    assert ("model", "x") in config.keys(shell.session)
