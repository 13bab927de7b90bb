"""model list, use and show, as they are typed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from dllama.dllamas import LLAMA_BYTES, write
from models.conftest import small_model
from ollamas import StartOllama

from synaptic.commands import model
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import EngineError
from synaptic.events import Event, SettingChanged
from synaptic.results import Facts, Note, Result, Rows
from synaptic.session import Session
from synaptic.settings import Settings
from synaptic.settings.nodes import NodeEntry

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def session(tmp_path: Path, folder: Path) -> Session:
    settings = Settings.load(tmp_path / "s.json", {})
    settings.save(models_dirs=(folder,))
    return Session(Environment({"OLLAMA_HOST": "127.0.0.9:9"}, io.StringIO(), io.StringIO(), io.StringIO()), settings)


async def type_line(session: Session, line: str) -> Result:
    return await registry.parse_line(line).run(session)


async def test_list_shows_the_shipped_model_and_the_users_own(session: Session, folder: Path) -> None:
    small_model(folder / "mine.gguf")
    (folder / "broken.gguf").write_text("nothing")
    result = await type_line(session, "model list")
    assert isinstance(result, Rows)
    assert [[cell.text for cell in row] for row in result.cells()] == [
        ["demo", "1.6 MiB", "2.4M", "Q4_0", "shipped"],
        ["mine", result.cells()[1][1].text, "14.3K", "Q4_0", str(folder)],
    ]
    document = result.as_json()
    assert isinstance(document, dict)
    assert document["chosen"] is None
    assert document["unreadable"] == [f"{folder}/broken.gguf is not a GGUF file"]
    assert "broken.gguf" in (result.summary or "")


async def test_use_saves_the_name_and_says_what_comes_next(session: Session) -> None:
    changes: list[tuple[str, object]] = []

    def hear(event: Event) -> None:
        if isinstance(event, SettingChanged):
            changes.append((event.key, event.value))

    session.bus.tap(hear)
    result = await type_line(session, "model use DEMO")
    assert isinstance(result, Note)
    assert result.text == "model is demo · 1.6 MiB · 4 layers"
    assert "distributed on" in (result.hint or "")
    assert session.settings.now.model == "demo"
    assert changes == [("model", "demo")]


async def test_use_saves_a_path_absolute(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_model(tmp_path / "elsewhere" / "my model.gguf")
    monkeypatch.chdir(path.parent)
    await type_line(session, 'model use "my model.gguf"')
    assert session.settings.now.model == str(path)


async def test_use_takes_only_what_is_there(session: Session) -> None:
    with pytest.raises(EngineError, match='no model named "llama3"'):
        await type_line(session, "model use llama3")
    assert session.settings.now.model is None


async def test_show_says_what_contracts_promise(session: Session) -> None:
    result = await type_line(session, "model show demo")
    assert isinstance(result, Facts)
    document = result.as_json()
    assert isinstance(document, dict)
    promised = {"name", "source", "path", "architecture", "parameters", "active_parameters", "layers", "context", "quantization", "bytes"}
    assert promised | {"engines"} <= document.keys()
    assert document["engines"] == ["llama.cpp"]
    assert (document["name"], document["title"], document["source"]) == ("demo", "Distributed demo FAQ", "shipped")
    assert document["bytes_per_layer"] == [278_528] * 4
    assert dict(result.facts)["layers"] == "4, up to 272 KiB each"


async def test_names_complete(session: Session, folder: Path) -> None:
    small_model(folder / "mine.gguf")
    command = registry.named("model use")
    assert command is not None
    source = command.params[0].source
    assert source is not None
    assert [word for word, _ in source(session)] == ["demo", "mine"]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (2_361_600, "2.4M"), (70_000_000_000, "70B"), (1_200_000_000_000, "1.2T")]
)
def test_counts_as_the_field_writes_them(count: int, text: str) -> None:
    assert model.short(count) == text


async def test_a_model_that_is_only_at_a_node_is_listed_shown_and_used(session: Session, ollamafake: StartOllama) -> None:
    node = ollamafake()
    settings = session.settings
    settings.save(nodes=(NodeEntry(node.url),))
    listed = await type_line(session, "model list")
    assert isinstance(listed, Rows)
    remote = next(each for each in listed.items if each.path is None)
    assert [cell.text for cell in listed.cells()[listed.items.index(remote)]][-1] == node.url
    shown = await type_line(session, f"model show {remote.name}")
    assert isinstance(shown, Facts)
    assert dict(shown.facts)["file"] == "none on this machine"
    assert dict(shown.facts)["servers"] == node.url
    used = await type_line(session, f"model use {remote.name}")
    assert isinstance(used, Note)
    assert used.text.endswith(f"at {node.url}")
    assert used.hint == "just ask: a server answers"
    assert settings.now.model == remote.name
    await session.close()


async def test_a_distributed_llama_model_is_shown(session: Session, folder: Path) -> None:
    path = write(folder / "mine.m", LLAMA_BYTES)
    result = await type_line(session, f"model show {path}")
    assert isinstance(result, Facts)
    facts = dict(result.facts)
    assert (facts["engines"], facts["architecture"], facts["vocabulary"]) == ("dllama", "llama", "100 tokens")
    document = result.as_json()
    assert isinstance(document, dict)
    assert (document["layers"], document["rope_type"], document["engines"]) == (2, 0, ["dllama"])
    layers = document["bytes_per_layer"]
    assert isinstance(layers, list)
    assert len(layers) == 2
