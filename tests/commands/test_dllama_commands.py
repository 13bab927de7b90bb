"""dllama add, list, check and remove, as a user types them; the worker ends of whoever only knocks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import run_main

FAKE = Path(__file__).parents[1] / "fakes" / "dllamafake.py"


@pytest.fixture
def worker() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with subprocess.Popen([sys.executable, str(FAKE)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield f"127.0.0.1:{process.stdout.readline().split()[1]}", process
        process.kill()


def states(document: dict[str, object]) -> list[tuple[str, str, str, str]]:
    return [(each["endpoint"], each["kind"], each["state"], each["detail"]) for each in document["backends"]]


def test_from_adding_to_removing(worker, own_home):
    endpoint, process = worker
    added = run_main("dllama", "add", endpoint, "127.0.79.1", cwd=own_home)
    assert "Added 2 new dllama worker(s)" in added.out
    assert "127.0.79.1:9999: refuses: busy with a root, or down" in added.out
    saved = json.loads((own_home / ".synapticllamas.json").read_text())
    assert [f"{each['host']}:{each['port']}" for each in saved["dllama_backends"]] == [endpoint, "127.0.79.1:9999"]
    refuses = ("127.0.79.1:9999", "dllama", "unreachable", "refuses: busy with a root, or down")
    unverified = (endpoint, "dllama", "unverified", "open, not asked: --verify proves it")
    for words in (("list",), ("check",)):
        assert states(run_main("dllama", *words, "--json", cwd=own_home).json) == [unverified, refuses]
    assert process.poll() is None
    proved = run_main("dllama", "check", endpoint, "--verify", "--json", cwd=own_home)
    assert (proved.code, states(proved.json)) == (0, [(endpoint, "dllama", "idle", "")])
    assert process.stdout.readline() == "session 1 complete\n"
    assert f"not measured: {endpoint}" in proved.err, "the fake computes nothing, and ends when it is to"
    assert run_main("dllama", "remove", endpoint, "--json", cwd=own_home).json == {"removed": [endpoint]}
    assert run_main("dllama", "check", cwd=own_home).code == 3
    assert run_main("dllama", "remove", "--all", "--yes", cwd=own_home).out.startswith("Removed 1 dllama worker(s)")
    assert "no dllama workers yet" in run_main("dllama", "list", cwd=own_home).err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("add", "[::1]:9999"), 2, "distributed-llama speaks IPv4 only"),
        (("remove",), 2, "name the workers to forget, or --all"),
        (("remove", "10.0.0.1"), 3, "not configured: 10.0.0.1:9999"),
        (("check", "10.0.0.1", "--verify"), 3, "unknown dllama worker: 10.0.0.1:9999"),
    ],
)
def test_what_cannot_be_is_said(own_home, words, code, said):
    done = run_main("dllama", *words, cwd=own_home)
    assert (done.code, said in done.err) == (code, True), done.err
