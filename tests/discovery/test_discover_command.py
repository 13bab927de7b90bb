"""discover, as a user runs it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
from pathlib import Path

import pytest

from synaptic.commands import load
from synaptic.environment import Environment
from synaptic.errors import UsageError
from synaptic.events import Noticed, SettingChanged, WorkProgressed
from synaptic.results import Lines, Note
from synaptic.session import Session
from synaptic.settings import Settings

SETTINGS = ".synapticllamas.json"


def saved(home: Path) -> list[str]:
    return [f"{each['host']}:{each['port']}" for each in json.loads((home / SETTINGS).read_text())["rpc_backends"]]


def make_session(home: Path) -> Session:
    streams = [io.StringIO() for _ in range(3)]
    return Session(Environment({"SYNAPTICLLAMAS_HOME": str(home)}, *streams), Settings.load(home / SETTINGS, {}))


async def run(session: Session, line: str) -> Note:
    """What the command tells, live and at the end, as one note."""
    result = await load().parse_line(line).run(session)
    if isinstance(result, Note):
        return result
    assert isinstance(result, Lines)
    assert result.after
    told = [each async for each in result.lines]
    note = result.after()
    return Note("\n".join([*told, note.text]), note.data, hint=note.hint)


def test_the_json_is_what_scripts_rely_on(discover, populate, own_home):
    there = populate("good", "http", "silent", "too-new")
    words = ("rpc", "discover", "--subnet", "127.0.7.0/28", "--port", str(there.port), "--timeout", "4", "--json")
    done = discover(*words)
    document = done.json
    good, new = document["found"]
    assert {key: good[key] for key in ("endpoint", "kind", "state", "version", "devices", "source", "added")} == {
        "endpoint": f"127.0.7.1:{there.port}",
        "kind": "rpc",
        "state": "idle",
        "version": "7.0.0",
        "devices": [{"name": "RPC0", "free": 8 << 30, "total": 16 << 30}],
        "source": "scan",
        "added": True,
    }
    assert good["latency_ms"] > 0
    assert (new["endpoint"], new["version"], new["added"]) == (f"127.0.7.4:{there.port}", "99.0.0", new["state"] == "idle")
    assert [(other["endpoint"], other["reason"]) for other in document["others"]] == [
        (f"127.0.7.2:{there.port}", "http"),
        (f"127.0.7.3:{there.port}", "silent"),
    ]
    assert (document["scanned"], document["added"], done.code) == (14, sum(each["added"] for each in document["found"]), 0)
    assert document["seconds"] > 0

    again = discover(*words).json
    assert (again["added"], [each["added"] for each in again["found"]]) == (0, [False, False])


def test_the_text_says_found_and_added(discover, populate, own_home):
    there = populate("good*2", "garbage")
    words = ("rpc", "discover", "--subnet", "127.0.7.0/28", "--port", str(there.port), "--timeout", "20")
    done = discover(*words)
    *found, summary = done.out.splitlines()
    assert sorted(line.split(" · ")[:2] for line in found) == [
        [f"  Found: 127.0.7.{last}:{there.port}   rpc-server 7.0.0", "8 GiB"] for last in (1, 2)
    ]
    assert re.fullmatch(r"Added 2 new RPC backend\(s\) +14 addresses in \d\.\d s", summary)
    assert f"127.0.7.3:{there.port}: answered something else" in done.err
    assert sorted(saved(own_home)) == [f"127.0.7.{last}:{there.port}" for last in (1, 2)]
    assert "no new RPC backends, 2 already known" in discover(*words).out


def test_nothing_found_is_no_failure_and_is_explained(discover, free_port, own_home):
    done = discover("rpc", "discover", "--subnet", "127.0.7.0/30", "--port", str(free_port))
    assert (done.code, done.err.strip()) == (0, f"127.0.7.0/30: 2 hosts up, nothing on port {free_port}")
    assert not (own_home / SETTINGS).exists()


@pytest.mark.parametrize("kind", ["ansi", "http", "garbage"])
def test_nothing_foreign_reaches_the_terminal_raw(discover, populate, own_home, kind):
    there = populate(kind)
    words = ("rpc", "discover", "--subnet", "127.0.7.1", "--port", str(there.port))
    for done in (discover(*words), discover(*words, "--json")):
        logs = "".join(path.read_text() for path in own_home.rglob("*.log"))
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", done.out + done.err + logs)
    assert done.json["others"][0]["detail"]


def test_other_networks_are_asked_about_first(discover):
    done = discover("rpc", "discover", "--subnet", "198.51.100.0/24")
    assert (done.code, done.out) == (2, "")
    assert "198.51.100.0/24 is no network of this machine. look there? there is nobody to ask" in done.err
    assert "add --yes" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("rpc", "discover", "--subnet", "127.0.0.0/8", "--yes"), "127.0.0.0/8 holds 16777216 addresses"),
        (("rpc", "discover", "--subnet", "nonsense"), "not a network: nonsense"),
        (("rpc", "discover", "--subnet", "127.0.7.1", "--port", "0"), "not a port: 0"),
        (("nodes", "discover", "127.0.7.1", "--port", "70000"), "--port is 0 to 65535, not 70000"),
    ],
)
def test_what_cannot_be_is_refused(discover, words, told):
    done = discover(*words)
    assert done.code == 2
    assert told in done.err


def test_few_file_descriptors_are_enough(discover, populate):
    there = populate("good*3", "silent*10", "blackhole*5")
    within = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
    done = discover("rpc", "discover", "--subnet", "127.0.7.0/24", "--port", str(there.port), "--timeout", "4", "--json", within=within)
    assert [each["endpoint"].partition(":")[0] for each in done.json["found"]] == ["127.0.7.1", "127.0.7.2", "127.0.7.3"]
    assert len(done.json["others"]) == 10


def test_dllama_ports_are_listed_and_proved_only_on_request(discover, launch, own_home):
    worker = launch("dllamafake.py", "--host", "127.0.7.1")
    words = ("dllama", "discover", "--subnet", "127.0.7.0/30", "--port", str(worker.port))
    document = discover(*words, "--json").json
    assert [(each["kind"], each["state"], each["added"]) for each in document["found"]] == [("dllama", "unverified", False)]
    assert "Found: 127.0.7.1" in discover(*words).out
    assert [each["state"] for each in discover(*words, "--verify", "--json").json["found"]] == ["idle"]
    assert worker.line() == "session 1 complete"
    assert [each["port"] for each in json.loads((own_home / SETTINGS).read_text())["dllama_backends"]] == [worker.port]


def test_nodes_are_found_by_name_of_their_software(discover, launch):
    ollama = launch("httpfake.py", "--as", "ollama", "--host", "127.0.7.1")
    done = discover("nodes", "discover", "127.0.7.0/30", "--port", str(ollama.port), "--timeout", "20")
    found, summary = done.out.splitlines()
    assert found.startswith(f"  Found: 127.0.7.1:{ollama.port}   Ollama 0.13.5 · 4 models")
    assert summary.startswith("Added 1 new server ")


def test_bare_discover_looks_for_every_kind(discover):
    document = discover("discover", "127.0.7.0/31", "--json").json
    assert document["scanned"] == 2
    assert all(port in str(document["notes"]) for port in ("50052", "9999", "9998", "9990", "11434", "8000", "8080")) or document["found"]


@pytest.mark.anyio
async def test_an_interruption_keeps_what_was_found(populate, tmp_path):
    there = populate("good*3", "silent", "blackhole*3")
    session = make_session(tmp_path)
    with session.bus.subscribe(SettingChanged) as changes:
        looking = asyncio.create_task(run(session, f"rpc discover --subnet 127.0.7.0/24 --port {there.port} --timeout 30"))
        async for _ in changes:
            if len(saved(tmp_path)) == 3:
                break
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
    good = [f"127.0.7.{last}:{there.port}" for last in (1, 2, 3)]
    assert sorted(saved(tmp_path)) == good
    assert [str(backend.endpoint) for backend in sorted(session.pool.ready(), key=lambda each: each.endpoint)] == good
    told = [event.text for event in session.bus.history if isinstance(event, Noticed)]
    assert len(told) == 1
    assert told[0].startswith("Added 3 new RPC backend(s): 127.0.7.")


@pytest.mark.anyio
async def test_progress_is_told_in_addresses(tmp_path, free_port):
    session = make_session(tmp_path)
    await run(session, f"rpc discover --subnet 127.0.7.0/24 --port {free_port}")
    steps = [event for event in session.bus.history if isinstance(event, WorkProgressed)]
    assert (steps[-1].done, steps[-1].total, steps[-1].unit) == (254, 254, "addresses")


@pytest.mark.anyio
async def test_a_question_answered_with_no_looks_nowhere(tmp_path):
    session = make_session(tmp_path)
    asked: list[str] = []

    async def no(question: str) -> bool:
        asked.append(question)
        return False

    session.confirm = no
    assert (await run(session, "rpc discover --subnet 198.51.100.0/24")).text == "looked nowhere"
    assert asked == ["198.51.100.0/24 is no network of this machine. look there?"]
    with pytest.raises(UsageError):
        await run(session, "rpc discover --subnet 198.0.0.0/8")


@pytest.mark.anyio
async def test_a_worker_of_ours_is_not_added_again(populate, tmp_path):
    there = populate("good")
    session = make_session(tmp_path)
    await session.add_backends([there.endpoint("good")])
    note = await run(session, f"rpc discover --subnet 127.0.7.0/30 --port {there.port} --timeout 20")
    assert " · already known" in note.text
    assert note.data["added"] == 0
    assert len(saved(tmp_path)) == 1
    assert os.listdir(tmp_path).count(SETTINGS) == 1
