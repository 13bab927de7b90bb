"""A team of agents on real engines, asked from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import DEMO, end

pytestmark = pytest.mark.live
QUESTION = "What is a worker?"
PROXY = Path(__file__).parents[1] / "fakes" / "deadly_proxy.py"
TEAM = {"collaborative_mode": True, "model": "faq", "distributed_inference_enabled": False}


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[int, int]]]:
    """Starts a program, waits for the line with its port, and gives port and pid."""
    processes: list[subprocess.Popen[str]] = []

    def run(*words: object, says: str) -> tuple[int, int]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )
        processes.append(process)
        assert process.stdout
        line = next(line for line in process.stdout if says in line)
        return int(line.split()[-1].split(":")[-1]), process.pid

    yield run
    for process in processes:
        end(process)
        assert process.stdout
        process.stdout.close()


@pytest.fixture
def node(start, llama_server: Path) -> Callable[[], tuple[int, int]]:
    """Starts a real llama-server that serves the demo model as `faq`."""
    words = ("-m", DEMO, "--alias", "faq", "--port", 0, "-c", 512, "-np", 1, "-t", 1, "--no-webui")
    return lambda: start(llama_server, *words, says="listening on http://")


def settings(home: Path, **values: object) -> None:
    (home / ".synapticllamas.json").write_text(json.dumps(values))


def addresses(*ports: int) -> list[dict[str, str]]:
    return [{"url": f"http://127.0.0.1:{port}"} for port in ports]


def test_a_team_on_one_machine_answers_one_after_the_other(run, llama_server) -> None:
    run("refine", "1")
    assert run("collab", "on").code == 0
    done = run("ask", QUESTION, "-m", "demo", "--json")
    assert done.code == 0, done.err
    assert done.json["complete"] is True
    phases = done.json["phases"]
    assert [(each["role"], each["round"], each["complete"], each["error"]) for each in phases] == [
        ("researcher", 0, True, None),
        ("critic", 0, True, None),
        ("researcher", 1, True, None),
        ("editor", 0, True, None),
    ]
    assert {(each["model"], each["served_by"]) for each in phases} == {("demo", "llama.cpp on this machine")}
    assert all(each["tokens"] > 0 and each["seconds"] > 0 for each in phases)
    assert phases[-1]["text"] == done.json["text"]


def test_two_nodes_work_at_the_same_time_and_each_is_named(run, own_home: Path, node) -> None:
    ports = [node()[0], node()[0]]
    settings(own_home, **TEAM, nodes=addresses(*ports))
    done = run("ask", QUESTION)
    assert done.code == 0, done.err
    assert done.out.strip()
    assert "→ researcher and critic at the same time, 1 refinement, then the editor (faq) · auto (2 nodes are ready)" in done.err
    told = done.err.split("researcher", 2)[2]
    assert all(f"openai at 127.0.0.1:{port}" in told for port in ports)


def test_a_node_killed_while_it_speaks_is_said_to_have_failed_and_the_others_go_on(run, own_home: Path, node, start) -> None:
    (healthy, _), (doomed, pid) = node(), node()
    proxy, _ = start(sys.executable, PROXY, doomed, pid, says="port")
    settings(own_home, **TEAM, nodes=addresses(healthy, proxy))
    done = run("ask", QUESTION, "--json")
    assert done.code == 0, done.err
    assert done.json["text"]
    phases = done.json["phases"]
    failed = [each for each in phases if each["error"]]
    assert [(each["served_by"], each["complete"]) for each in failed] == [(f"openai at 127.0.0.1:{proxy}", False)]
    assert {each["served_by"] for each in phases if not each["error"]} == {f"openai at 127.0.0.1:{healthy}"}
    assert f"(openai at 127.0.0.1:{proxy}) broke off: " in done.err


def test_strategy_single_is_one_answer_without_agents(run, own_home: Path, llama_server) -> None:
    settings(own_home, collaborative_mode=True, strategy="single")
    done = run("ask", QUESTION, "-m", "demo", "--json")
    assert done.code == 0
    assert "phases" not in done.json
