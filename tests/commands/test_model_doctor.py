"""model doctor, as it is typed: with a real llama-server where there is one."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from models.conftest import F32, small_model, write_model
from models.stores import add, blob
from ollamas import StartOllama

from synaptic.commands import load
from synaptic.environment import Environment
from synaptic.results import Rows
from synaptic.session import Session
from synaptic.settings import Settings
from synaptic.settings.nodes import NodeEntry

pytestmark = pytest.mark.anyio
NO_OLLAMA = {"OLLAMA_HOST": "127.0.0.9:9"}  # whatever runs on this machine
DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo-q4_0.gguf"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    (tmp_path / "models").mkdir()
    settings = Settings.load(tmp_path / "s.json", {})
    settings.save(models_dirs=(tmp_path / "models",))
    variables = {
        "OLLAMA_HOST": "127.0.0.9:9",
        "OLLAMA_MODELS": str(tmp_path / "store"),
        "HOME": str(tmp_path),
        "SYNAPTICLLAMAS_HOME": str(tmp_path),
    }
    variables |= {name: os.environ[name] for name in ("LLAMA_SERVER",) if name in os.environ}
    return Session(Environment(variables, io.StringIO(), io.StringIO(), io.StringIO()), settings)


async def told(session: Session, name: str) -> tuple[dict[str, tuple[str, str, str]], int]:
    result = await load().parse_line(f"model doctor {name}").run(session)
    assert isinstance(result, Rows)
    return {check.what: (check.mark, check.detail, check.fix) for check in result.items}, result.exit_code


async def test_a_model_that_can_be_loaded(session: Session, llama_server: Path) -> None:
    rows, code = await told(session, "demo")
    assert {what: mark for what, (mark, *_) in rows.items()} == dict.fromkeys(
        ("file", "llama-server", "architecture", "shape", "tokenizer", "weights", "chat template", "memory"), "✓"
    )
    assert str(llama_server) in rows["llama-server"][1]
    assert code == 0


async def test_an_architecture_that_only_ollama_knows(session: Session, llama_server: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "m.gguf", {"blk.0.x.weight": ((2, 32), F32), "v.blk.0.x": ((2, 32), F32)}, "gptoss", layers=1)
    rows, code = await told(session, "m")
    assert code == 1
    assert rows["architecture"][:2] == ("✗", "llama-server: unknown model architecture: 'gptoss'")
    assert "llama.cpp says gpt-oss" in rows["architecture"][2]
    assert "tokenizer" not in rows
    assert rows["weights"][:2] == ("✗", "1 tensor of eyes or ears are in the same file, as Ollama keeps them")


async def test_a_shape_that_is_not_whole(session: Session, llama_server: Path, tmp_path: Path) -> None:
    small_model(tmp_path / "models" / "m.gguf")
    rows, code = await told(session, "m")
    assert (code, rows["architecture"][0], rows["shape"][0]) == (1, "✓", "✗")
    assert "key not found in model" in rows["shape"][1]
    assert rows["chat template"][0] == "!"


async def test_a_model_of_ollamas_store_with_what_lies_beside_it(session: Session, llama_server: Path, tmp_path: Path) -> None:
    add(tmp_path / "store", "llava:7b", ("model", DEMO.read_bytes()), ("projector", b"GGUF eyes"), ("adapter", b"GGUF lora"))
    rows, code = await told(session, "llava:7b")
    assert (code, rows["projector"][0], rows["adapter"][0]) == (0, "!", "!")
    assert str(blob(tmp_path / "store", b"GGUF eyes")) in rows["projector"][2]


async def test_what_cannot_be_found_is_a_row_with_a_fix(session: Session, tmp_path: Path) -> None:
    add(tmp_path / "store", "m:7b", ("model", DEMO.read_bytes()))
    blob(tmp_path / "store", DEMO.read_bytes()).unlink()
    rows, code = await told(session, "m:7b")
    assert (code, rows["file"][0], rows["file"][2]) == (1, "✗", "try: model pull m:7b")
    assert "is gone" in rows["file"][1]
    rows, code = await told(session, "nothing")
    assert (code, rows["file"][:2]) == (1, ("✗", 'no model named "nothing" here'))


async def test_without_a_llama_server_that_is_what_is_missing(tmp_path: Path) -> None:
    environment = Environment({**NO_OLLAMA, "HOME": str(tmp_path)}, io.StringIO(), io.StringIO(), io.StringIO())
    bare = Session(environment, Settings.load(tmp_path / "s.json", {}))
    rows, code = await told(bare, "demo")
    assert (code, rows["llama-server"]) == (1, ("✗", "not found", "engine install llama.cpp"))


async def test_a_model_that_is_only_at_a_node_cannot_be_loaded_here(session: Session, ollamafake: StartOllama) -> None:
    node = ollamafake()
    session.settings.save(nodes=(NodeEntry(node.url),))
    state = next(each for each in await session.nodes.refresh() if each.offers)
    rows, code = await told(session, state.offers[0].name)
    assert (code, rows["server"][0], rows["file"][0]) == (1, "✓", "✗")
    assert node.url in rows["server"][1]
    assert rows["file"][2] == f"model pull {state.offers[0].name}"
