"""model pull, as it is typed: from a web server and by an Ollama node, both stand-ins on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import pytest
from models.conftest import F32, small_model, write_model

from synaptic.commands import pull
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import EngineError, UsageError
from synaptic.events import Noticed, WorkFinished, WorkProgressed
from synaptic.results import Note
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
FAKES = Path(__file__).parents[1] / "fakes"
assert pull.registry is registry


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts a stand-in; its URL."""
    with contextlib.ExitStack() as stack:

        def start(program: str, *options: str) -> str:
            words = [sys.executable, str(FAKES / program), *options]
            process = stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout
            return f"http://127.0.0.1:{process.stdout.readline().split()[1]}"

        yield start


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    return {"SYNAPTICLLAMAS_HOME": str(tmp_path), "OLLAMA_HOST": "http://127.0.0.1:9"}


@pytest.fixture
def session(tmp_path: Path, variables: dict[str, str]) -> Session:
    return Session(Environment(variables, io.StringIO(), io.StringIO(), io.StringIO()), Settings.load(tmp_path / "s.json", {}))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "there" / "m.gguf", layers=120)


async def type_line(session: Session, line: str) -> Note:
    result = await registry.parse_line(line).run(session)
    assert isinstance(result, Note)
    return result


async def test_a_file_comes_into_the_models_folder(session: Session, serve, model: Path, tmp_path: Path) -> None:
    url = serve("fileserver.py", "--file", str(model))
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    said = await type_line(session, f"model pull {url}/m.gguf --sha256 {digest.upper()}")
    here = tmp_path / "data" / "models" / "m.gguf"
    assert here.read_bytes() == model.read_bytes()
    assert said.text.startswith(f"{here} is here: ")
    assert said.text.endswith("and its checksum is right")
    assert said.as_json()
    again = await type_line(session, f"model pull {url}/m.gguf")
    assert again.text.startswith(f"{here} was here already")


async def test_a_folder_can_be_named(session: Session, serve, model: Path, tmp_path: Path) -> None:
    url = serve("fileserver.py", "--file", str(model))
    said = await type_line(session, f"model pull {url}/m.gguf --to {tmp_path / 'big disk'.replace(' ', '-')}")
    assert (tmp_path / "big-disk" / "m.gguf").exists()
    assert said.hint == f"try: model use {tmp_path / 'big-disk' / 'm.gguf'}"


async def test_a_model_in_several_files_comes_whole(session: Session, serve, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for number in (1, 2):
        split = {"split.count": 2, "split.no": number - 1}
        write_model(there / f"m-0000{number}-of-00002.gguf", {f"blk.{number}.x": ((64, 64), F32)}, layers=2, numbers=split)
    assert gguf.GGUFReader(there / "m-00002-of-00002.gguf").tensors
    url = serve("fileserver.py", "--file", str(there / "m-00001-of-00002.gguf"))
    said = await type_line(session, f"model pull {url}/m-00002-of-00002.gguf")
    assert sorted(path.name for path in (tmp_path / "data" / "models").iterdir()) == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    assert said.data
    assert said.data["files"] == 2
    assert said.data["bytes"] == sum(path.stat().st_size for path in there.iterdir())
    with pytest.raises(UsageError, match="--sha256 is of one file, and this model has 2"):
        await type_line(session, f"model pull {url}/m-00001-of-00002.gguf --sha256 {'0' * 64}")


async def test_an_interrupted_pull_says_how_to_go_on(session: Session, serve, model: Path, tmp_path: Path) -> None:
    url = serve("fileserver.py", "--file", str(model), "--hold", "131072")
    noticed: list[str] = []
    begun = asyncio.Event()

    def hear(event: object) -> None:
        if isinstance(event, WorkProgressed) and event.done:
            begun.set()
        if isinstance(event, Noticed):
            noticed.append(event.text)

    session.bus.tap(hear)
    pulling = asyncio.create_task(type_line(session, f"model pull {url}/m.gguf"))
    await begun.wait()
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    assert noticed == ["128 KiB of m.gguf are kept; the same command goes on there"]
    assert (tmp_path / "data" / "models" / "m.gguf.part").stat().st_size == 131072
    assert isinstance(session.bus.history[-2], WorkFinished)


async def test_what_cannot_be_pulled_is_said(session: Session) -> None:
    for line, words in (
        ("model pull ftp://h/m.gguf", "is no http or https address"),
        ("model pull file:///etc/m.gguf", "is no http or https address"),
        ("model pull http://h/m.gguf --sha256 abc", "64 hexadecimal digits"),
        ("model pull http://h/m.gguf --on box", "--on is for names"),
        ("model pull llama3.2 --to /tmp", "--sha256 and --to are for addresses"),
        ("model pull llama3.2 --on http://192.0.2.7:11434", "is no Ollama node that is known here"),
    ):
        with pytest.raises(UsageError, match=words):
            await type_line(session, line)
    with pytest.raises(EngineError, match="no Ollama node answers that could fetch it"):
        await type_line(session, "model pull llama3.2")


async def test_a_name_is_fetched_by_an_ollama_node(session: Session, serve, variables: dict[str, str]) -> None:
    variables["OLLAMA_HOST"] = serve("pullfake.py")
    told: list[WorkProgressed] = []
    session.bus.tap(lambda event: told.append(event) if isinstance(event, WorkProgressed) else None)
    said = await type_line(session, "model pull llama3.2:3b")
    endpoint = variables["OLLAMA_HOST"].removeprefix("http://")
    assert said.text == f"llama3.2:3b is at {endpoint}"
    assert ("pulling 8eeb52dfb3bb", 500_000, 2_000_000) in [(event.what.rpartition(": ")[2], event.done, event.total) for event in told]


async def test_what_the_node_cannot_fetch_is_said_in_its_words(session: Session, serve, variables: dict[str, str]) -> None:
    variables["OLLAMA_HOST"] = serve("pullfake.py", "--as", "unknown")
    with pytest.raises(EngineError, match="cannot pull nosuch: pull model manifest: file does not exist"):
        await type_line(session, "model pull nosuch")
