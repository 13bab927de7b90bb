"""cache list, seed, gc and check, as they are typed."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from models.big_model import big_model
from models.conftest import small_model

from synaptic.commands import cache, worker
from synaptic.commands.registry import registry
from synaptic.environment import Environment
from synaptic.errors import BackendError, SynapticError, UsageError
from synaptic.events import Event, WorkProgressed, WorkStarted
from synaptic.models.tensor_cache import alone, kept_in
from synaptic.process.workers import has_client
from synaptic.results import Facts, Note, Result
from synaptic.session import Session
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
assert cache.registry is worker.registry  # the files that declare the commands


@pytest.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    settings = Settings.load(tmp_path / "s.json", {})
    settings.save(models_dirs=(tmp_path / "models",))
    programs = {name: os.environ[name] for name in ("GGML_RPC_SERVER", "LLAMA_SERVER") if name in os.environ}
    variables = {"SYNAPTICLLAMAS_HOME": str(tmp_path), **programs}

    async def confirm(question: str) -> bool:
        return "remove" in question

    opened = Session(Environment(variables, io.StringIO(), io.StringIO(), io.StringIO()), settings, confirm)
    opened.is_shell = True
    yield opened
    await opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "llama.cpp" / "rpc"


@pytest.fixture
def big(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return big_model(tmp_path / "models" / "big.gguf")


async def type_line(session: Session, line: str) -> Result:
    return await registry.parse_line(line).run(session)


async def note(session: Session, line: str) -> str:
    result = await type_line(session, line)
    assert isinstance(result, Note)
    return result.text


async def shares(session: Session) -> dict[str, tuple[str, str]]:
    result = await type_line(session, "cache list")
    assert isinstance(result, Facts)
    assert result.as_json()
    ((_, table),) = result.tables
    return {row[0].text: (row[1].text, row[2].text) for row in table.cells()}


async def test_a_model_is_seeded_listed_checked_and_collected(session: Session, folder: Path, big: Path) -> None:
    progress: list[Event] = []
    session.bus.tap(progress.append)
    assert (await shares(session))["big"] == ("0 %", "0 B of 33 MiB")
    assert await note(session, "cache seed big") == "big: 3 tensors written (33 MiB), 0 were there"
    assert (await shares(session))["big"] == ("100 %", "33 MiB of 33 MiB")
    assert (await shares(session))["demo"] == ("–", "no tensor of more than 10 MiB")
    assert await note(session, f"cache seed {big}") == "big: 0 tensors written (0 B), 3 were there"
    totals = {event.total for event in progress if isinstance(event, WorkProgressed)}
    assert totals <= {sum(each.bytes for each in kept_in(folder)), None}
    bad = folder / kept_in(folder)[0].name
    bad.chmod(0o600)
    bad.write_bytes(b"short")
    assert await note(session, "cache check") == "3 tensors checked, 1 damaged and removed"
    assert await note(session, "cache check") == "2 tensors checked, all are whole"
    assert await note(session, "cache gc --limit 11M") == "removed 1 tensor: 11 MiB freed, 11 MiB left"
    assert (await shares(session))["big"] == ("33 %", "11 MiB of 33 MiB")


async def test_nothing_is_removed_that_fits_or_that_the_user_wants_to_keep(session: Session, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "0123456789abcdef").write_bytes(b"x")

    async def no(question: str) -> bool:
        assert question == "remove 1 tensor, 1 B?"
        return False

    session.confirm = no
    assert await note(session, "cache gc") == "removed 0 tensors: 0 B freed, 1 B left"
    assert await note(session, "cache gc --limit 0") == "nothing changed"
    assert len(kept_in(folder)) == 1


async def test_a_model_without_large_tensors_needs_no_seed(session: Session, folder: Path) -> None:
    assert "has no tensor of more than 10 MiB" in await note(session, "cache seed demo")
    assert kept_in(folder) == []


async def test_an_interrupted_seed_leaves_only_whole_tensors(session: Session, folder: Path, big: Path) -> None:
    begun = asyncio.Event()
    session.bus.tap(lambda event: begun.set() if isinstance(event, WorkStarted) else None)
    seeding = asyncio.create_task(type_line(session, "cache seed big"))
    await begun.wait()
    seeding.cancel()
    await asyncio.gather(seeding, return_exceptions=True)
    with alone(folder):  # nobody is at work there any more
        assert not list(folder.glob("*.part"))
    assert await note(session, "cache check") in [f"{count} tensor{'s'[: count != 1]} checked, all are whole" for count in range(4)]


async def test_only_a_caching_worker_of_this_machine_is_seeded(session: Session, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="192.168.1.10:50052 is no worker that was started on this machine"):
        await type_line(session, "cache seed demo --on 192.168.1.10")


async def test_where_there_is_no_home(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path / "s.json", {})
    homeless = Session(Environment({"HOME": "/nonexistent"}, io.StringIO(), io.StringIO(), io.StringIO()), settings)
    with pytest.raises(SynapticError, match="no home folder to keep tensors in"):
        await type_line(homeless, "cache list")


@pytest.mark.parametrize(
    ("text", "bytes"),
    [
        ("500M", 500 * 1024**2),
        ("1.5 GiB", 1536 * 1024**2),
        ("0", 0),
        ("7kb", 7168),
        ("2T", 2 * 1024**4),
        ("8589934592", 8 << 30),
        ("8Gi", 8 << 30),
    ],
)
def test_sizes(text: str, bytes: int) -> None:
    assert cache.Size.parse(text).bytes == bytes


@pytest.mark.parametrize("text", ["", "-1", "G", "1e9", "5 X", "9999999G"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        cache.Size.parse(text)


@pytest.mark.live
async def test_a_held_worker_keeps_its_tensors(session: Session, folder: Path, ggml_rpc_server: Path, free_port: int) -> None:
    assert "1 llama.cpp worker started" in await note(session, f"worker start --cache --threads 1 --port {free_port}")
    (started,) = session.workers.all()
    assert started.cache == folder
    (folder / "0123456789abcdef").write_bytes(b"x")
    _, writer = await asyncio.open_connection(started.endpoint.host, started.endpoint.port)
    while not await has_client(started):  # until it has accepted
        await asyncio.sleep(0.01)
    with pytest.raises(BackendError, match=f"{started.endpoint} is held by a coordinator that may be loading"):
        await type_line(session, "cache gc --limit 0")
    assert len(kept_in(folder)) == 1
    writer.close()
    await writer.wait_closed()


@pytest.mark.live
async def test_a_worker_without_a_cache_is_not_seeded(session: Session, ggml_rpc_server: Path, free_port: int, tmp_path: Path) -> None:
    small_model(tmp_path / "models" / "small.gguf")
    await type_line(session, f"worker start --threads 1 --port {free_port}")
    (started,) = session.workers.all()
    assert started.cache is None
    with pytest.raises(BackendError, match="keeps no tensors"):
        await type_line(session, f"cache seed small --on {started.endpoint}")
