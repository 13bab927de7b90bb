"""nodes, as it is typed: in the shell's words and in the original's."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
from pathlib import Path

import pytest

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.commands import load
from synaptic.commands.complete import configured_nodes
from synaptic.commands.nodes import add_found
from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.errors import BackendError, SynapticError, UsageError
from synaptic.results import Note, Result, Rows
from synaptic.session import Session, cannot_ask
from synaptic.settings import Settings

pytestmark = pytest.mark.anyio
registry = load()


class Shell:
    """Types lines at a session whose own Ollama is at `local`, where nothing listens unless the test put it there."""

    def __init__(self, path: Path, local: str, answer: bool | None = None) -> None:
        self.variables = {"OLLAMA_HOST": local, "SYNAPTICLLAMAS_HOME": str(path.parent)}
        self.asked: list[str] = []

        async def confirm(question: str) -> bool:
            self.asked.append(question)
            return bool(answer)

        environment = Environment(self.variables, io.StringIO(), io.StringIO(), io.StringIO())
        self.session = Session(environment, Settings.load(path, {}), cannot_ask if answer is None else confirm)

    async def type(self, line: str) -> Result:
        return await registry.parse_line(line).run(self.session)

    async def note(self, line: str) -> Note:
        result = await self.type(line)
        assert isinstance(result, Note)
        return result

    async def rows(self, line: str) -> Rows:
        result = await self.type(line)
        assert isinstance(result, Rows)
        return result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.json"


@pytest.fixture
def shell(path: Path, free_port: int) -> Shell:
    return Shell(path, f"127.0.0.1:{free_port}")


def saved(path: Path) -> list:
    return json.loads(path.read_text())["nodes"]


async def test_a_server_is_added_told_apart_and_saved(shell: Shell, path: Path, ollamafake) -> None:
    fake = ollamafake()
    note = await shell.note(f"nodes add {fake.url} --name attic --priority 2 --timeout 20")
    first, second = note.text.splitlines()
    assert first == "added 1 node"
    assert second.startswith(f"  {fake.url}   Ollama 0.13.5 · 1 model · ")
    assert note.hint is None
    assert saved(path) == [{"url": fake.url, "name": "attic", "priority": 2, "kind": "ollama"}]
    document = note.as_json()
    assert isinstance(document, dict)
    assert document["added"] == [fake.url]


async def test_one_that_does_not_answer_is_saved_and_said_so(shell: Shell, path: Path) -> None:
    address = shell.variables["OLLAMA_HOST"]
    note = await shell.note(f"add {address}")
    assert "refused the connection" in note.text
    assert note.hint == "saved; nodes health asks again"
    assert saved(path) == [{"url": f"http://{address}"}]
    assert (await shell.note(f"add http://{address}/")).text.startswith("already known")


async def test_the_list_shows_how_each_is_and_its_json_is_the_record(shell: Shell, ollamafake) -> None:
    fake = ollamafake("--models", "a,b", "--loaded", "b")
    await shell.note(f"nodes add {fake.url} --timeout 20")
    table = await shell.rows("nodes")
    cells = [[cell.text for cell in row] for row in table.cells()]
    assert cells[0][:6] == [fake.url, "–", "Ollama 0.13.5", "ready", "2 (1 loaded)", "0"]
    assert [row[3] for row in cells] == ["ready", "down"]  # the second is the Ollama that OLLAMA_HOST names
    document = table.as_json()
    assert isinstance(document, dict)
    record = document["backends"][0]
    expected = {"endpoint", "kind", "state", "version", "devices", "latency_ms", "source", "detail", "health", "last_seen", "since"}
    assert expected | {"url", "models", "running", "tokens_per_second"} <= record.keys()
    assert (record["kind"], record["state"], record["source"]) == ("ollama", "idle", "configured")


async def test_the_default_ollama_is_not_shown_while_it_is_away(path: Path, shell: Shell, ollamafake) -> None:
    shell.variables.pop("OLLAMA_HOST")
    table = await shell.rows("nodes list")
    assert [state.node.source for state in table.items if not state.is_ready] == []


async def test_health_asks_all_of_them_and_fails_when_none_is_ready(shell: Shell, path: Path, ollamafake) -> None:
    assert (await shell.rows("health")).exit_code == BackendError.exit_code
    fake = ollamafake()
    await shell.note(f"add {fake.url} --timeout 20")
    assert (await shell.rows("nodes health --timeout 20")).exit_code == 0
    fake.process.kill()
    fake.process.wait()
    for _ in range(4):  # the original forgot a node after three failures
        table = await shell.rows("health")
    assert [state.health for state in table.items] == ["lost", "down"]
    assert saved(path)[0]["url"] == fake.url


async def test_one_is_removed_by_its_address_or_its_name(shell: Shell, path: Path) -> None:
    await shell.note("add 127.0.5.1:1 --name attic")
    await shell.note("add 127.0.5.2:1")
    assert (await shell.note("remove attic")).text == "removed http://127.0.5.1:1"
    assert (await shell.note("nodes remove 127.0.5.2:1")).text == "removed http://127.0.5.2:1"
    assert saved(path) == []
    with pytest.raises(BackendError, match="not configured: 127.0.5.2:1"):
        await shell.type("remove 127.0.5.2:1")


async def test_nodes_are_saved_to_a_file_and_loaded_from_it(shell: Shell, path: Path, tmp_path: Path, free_port: int) -> None:
    await shell.note("add 127.0.5.1:1 --name attic --priority 2 --key-env KEY")
    file = tmp_path / "nodes.json"
    assert (await shell.note(f"save {file}")).text == f"saved 1 node to {file}"
    assert json.loads(file.read_text()) == {"nodes": [{"url": "http://127.0.5.1:1", "name": "attic", "priority": 2, "key_env": "KEY"}]}

    other = Shell(tmp_path / "other.json", f"127.0.0.1:{free_port}")
    await other.note("add 127.0.5.2:1")
    note = await other.note(f"load {file}")
    assert note.text.startswith("added 1 node\n  http://127.0.5.1:1: ")
    assert "saved; nodes" in (note.hint or "")
    assert [entry["url"] for entry in saved(tmp_path / "other.json")] == ["http://127.0.5.2:1", "http://127.0.5.1:1"]


async def test_the_originals_own_file_is_the_default(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / ".synapticllamas_nodes.json").write_text(
        '{"nodes": [{"url": "http://127.0.5.1:11434", "name": "a", "priority": 0}], "x": 1}'
    )
    await shell.note("load")
    assert [entry.name for entry in shell.session.settings.now.nodes] == ["a"]
    await shell.note("save")
    assert json.loads((tmp_path / ".synapticllamas_nodes.json").read_text())["x"] == 1


async def test_bad_entries_of_a_file_are_named_and_the_others_are_loaded(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "nodes.json"
    file.write_text(json.dumps({"nodes": [{"url": "http://me:sesame@host"}, {"url": "http://127.0.5.1:1"}]}))
    note = await shell.note(f"load {file}")
    assert "! nodes: an address takes no user name and no password; skipped" in note.text
    assert "sesame" not in note.text
    assert [entry.url for entry in shell.session.settings.now.nodes] == ["http://127.0.5.1:1"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"nodes": 7}', '{"other": []}', "\0", '{"nodes": []'])
async def test_what_is_no_such_file_is_not_loaded_and_not_overwritten_unasked(shell: Shell, tmp_path: Path, text: str) -> None:
    file = tmp_path / "nodes.json"
    file.write_text(text)
    with pytest.raises(SynapticError, match=r"nodes\.json"):
        await shell.type(f"load {file}")
    with pytest.raises(UsageError, match="overwrite it"):
        await shell.type(f"save {file}")
    assert file.read_text() == text


async def test_a_file_that_is_not_there_or_no_file_is_said(shell: Shell, tmp_path: Path) -> None:
    with pytest.raises(SynapticError, match="cannot be read: no such file"):
        await shell.type(f"load {tmp_path / 'none.json'}")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SynapticError, match="is no file"):
        await shell.type(f"load {tmp_path / 'pipe'}")
    with pytest.raises(SynapticError, match="cannot be written"):
        await shell.type(f"save {tmp_path / 'none' / 'nodes.json'}")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://169.254.169.254/", "http://[fe80::1]", "http://me:sesame@127.0.0.1"])
async def test_addresses_that_no_server_of_models_has_are_refused(shell: Shell, path: Path, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        await shell.type(f"nodes add {url}")
    assert "sesame" not in f"{caught.value} {caught.value.hint}"
    assert not path.exists()


async def test_a_public_address_is_asked_about_first(path: Path, tmp_path: Path, free_port: int) -> None:
    careful = Shell(path, f"127.0.0.1:{free_port}", answer=False)
    assert (await careful.note("nodes add 8.8.8.8")).text == "nothing changed"
    assert careful.asked == ["http://8.8.8.8:11434 is not on your own networks: send prompts there?"]
    file = tmp_path / "nodes.json"
    file.write_text('{"nodes": [{"url": "http://8.8.8.8:11434"}, {"url": "http://127.0.5.1:1"}]}')
    await careful.note(f"load {file}")
    assert [entry.url for entry in careful.session.settings.now.nodes] == ["http://127.0.5.1:1"]


async def test_a_key_is_named_never_given(shell: Shell, path: Path) -> None:
    with pytest.raises(UsageError, match="takes the name of an environment variable"):
        await shell.type("nodes add 127.0.5.1:1 --key-env sk-12345")
    note = await shell.note("nodes add 127.0.5.1:1 --key-env MY_KEY")
    assert "! MY_KEY is not set: http://127.0.5.1:1 gets no key" in note.text
    assert saved(path) == [{"url": "http://127.0.5.1:1", "key_env": "MY_KEY"}]


async def test_what_a_discovery_found_can_be_saved(shell: Shell, path: Path) -> None:
    found = [
        Backend(Endpoint("127.0.5.1", 11434), Kind.OLLAMA, State.IDLE),
        Backend(Endpoint("127.0.5.2", 8000), Kind.OPENAI, State.IDLE),
    ]
    assert await add_found(shell.session, found) == ["http://127.0.5.1:11434", "http://127.0.5.2:8000"]
    assert await add_found(shell.session, found) == []
    assert saved(path) == [{"url": "http://127.0.5.1:11434", "kind": "ollama"}, {"url": "http://127.0.5.2:8000", "kind": "openai"}]


async def test_addresses_complete_from_what_is_known(shell: Shell, ollamafake) -> None:
    fake = ollamafake()
    await shell.note(f"add {fake.url} --name attic --timeout 20")
    await shell.note("add 127.0.5.1:1")
    assert configured_nodes(shell.session) == [(fake.url, "Ollama · ready · attic"), ("http://127.0.5.1:1", "openai · down")]


async def test_a_session_that_ends_leaves_no_look_behind(shell: Shell, ollamafake) -> None:
    stuck = ollamafake("--look", "hang")
    adding = asyncio.create_task(shell.type(f"add {stuck.url} --timeout 60"))
    await asyncio.to_thread(stuck.heard, "GET /v1/models")
    await shell.session.close()
    await asyncio.wait_for(asyncio.gather(adding, return_exceptions=True), 10)
    await asyncio.to_thread(stuck.process.kill)
