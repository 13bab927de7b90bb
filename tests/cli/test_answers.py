"""Answers of the real engine, asked for from the command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DEMO
from faq import entries

pytestmark = pytest.mark.live
QUESTION = "What is a worker?"
ANSWER = next(entry.answer for entry in entries() if QUESTION in entry.questions)
MAIN = Path(__file__).parents[2] / "main.py"


@pytest.fixture
def spread(run, rpc_worker, llama_server):
    """Two real workers, configured, and distributed on."""
    workers = [rpc_worker(), rpc_worker()]
    run("rpc", "add", *(str(worker.endpoint) for worker in workers))
    assert run("distributed", "on").code == 0
    return workers


def test_one_process_gives_the_known_answer(run, llama_server) -> None:
    done = run("ask", QUESTION, "--model", "demo", "--json")
    assert done.code == 0
    assert done.json["text"] == ANSWER
    assert done.json["complete"] is True
    assert done.json["route"] == {"via": "llama.cpp", "backends": [], "why": "on this machine: distributed is off"}


def test_two_workers_give_the_same_answer(run, spread) -> None:
    done = run("-i", QUESTION, "-m", "demo", "--json")
    assert done.code == 0
    assert done.json["text"] == ANSWER
    assert done.json["route"]["backends"] == [str(worker.endpoint) for worker in spread]
    assert done.json["usage"]["completion_tokens"] > 10
    assert done.json["timings"]["tokens_per_second"] > 0


def test_text_goes_to_stdout_and_talk_to_stderr(run, spread) -> None:
    done = run("ask", QUESTION, "-m", "demo")
    assert done.out == ANSWER + "\n"
    assert "→ demo · llama.cpp · 2 workers" in done.err
    assert "tok/s" in done.err


def test_a_prompt_comes_from_stdin(run, llama_server) -> None:
    assert run("ask", "-", "-m", "demo", stdin=QUESTION + "\n").out == ANSWER + "\n"


def test_piped_lines_hold_a_conversation_on_one_coordinator(run, spread) -> None:
    done = run(stdin=f"model use demo\n{QUESTION}\nretry\ncoordinator list --json\nclear\n")
    assert done.code == 0
    assert done.out.count(ANSWER) == 2
    assert '"state": "ready"' in done.out


def test_using_at_the_end_picks_the_model(run, llama_server) -> None:
    done = run(stdin=f"{QUESTION} using demo\n")
    assert done.out == ANSWER + "\n"


def test_using_takes_a_name_with_spaces_in_quotes(run, llama_server, own_home) -> None:
    shutil.copy(DEMO, own_home / "my model.gguf")
    done = run("ask", f'{QUESTION} using "my model.gguf"', "--json")
    assert (done.json["text"], done.json["model"]) == (ANSWER, str(own_home / "my model.gguf"))


def test_using_a_model_that_only_a_node_has_asks_the_node(run, ollamafake) -> None:
    node = ollamafake("--models", "llama3.1:405b")
    done = run("ask", QUESTION, "using", "llama3.1:405b", "--json", OLLAMA_HOST=node.url)
    assert json.loads(done.out)["model"] == "llama3.1:405b"
    assert "no model named" not in done.err


def test_using_a_model_that_is_not_here_says_so_and_asks_all_the_same(run, llama_server) -> None:
    done = run(stdin=f"{QUESTION} using llama3.1:405b\n")
    assert done.code == 0
    assert "no model named llama3.1:405b here" in done.err
    assert "model pull llama3.1:405b" in done.err


def test_metrics_follow_the_answer(run, llama_server) -> None:
    text, _, numbers = run("-i", QUESTION, "-m", "demo", "--metrics").out.partition("\n")
    assert text == ANSWER
    assert json.loads(numbers)["usage"]["completion_tokens"] > 10


def test_a_worker_that_is_gone_is_left_out_and_named(run, spread) -> None:
    spread[1].process.kill()
    spread[1].process.wait()
    done = run("ask", QUESTION, "-m", "demo")
    assert done.out == ANSWER + "\n"
    assert f"without {spread[1].endpoint} (unreachable)" in done.err


def test_no_worker_left_is_said_with_the_way_out(run, spread) -> None:
    for worker in spread:
        worker.process.kill()
        worker.process.wait()
    done = run("ask", QUESTION, "-m", "demo")
    assert done.code == 3
    assert "no worker is ready" in done.err
    assert "rpc check" in done.err


def test_status_shows_where_the_model_lies(run, spread) -> None:
    done = run(stdin="coordinator start demo\nstatus --json\n")
    document = json.loads(done.out[done.out.index("{") :])
    (coordinator,) = document["coordinators"]
    held = {share["endpoint"]: share for share in coordinator["placement"]}
    assert all(held[str(worker.endpoint)]["model_bytes"] > 0 for worker in spread)
    assert sum(share["layers"] for share in coordinator["placement"]) == 4
    assert document["backends"]["rpc"] == {"known": 2, "ready": 2}
    assert coordinator["state"] == "ready"


def test_a_prompt_longer_than_the_context_is_explained(run, llama_server) -> None:
    done = run("ask", "word " * 2000, "-m", "demo")
    assert done.code == 4
    assert "context" in done.err


def test_nothing_is_left_behind(run, spread) -> None:
    run("ask", QUESTION, "-m", "demo")
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(DEMO) not in [line for line in listing.splitlines() if "llama-server" in line and str(spread[0].endpoint) in line]


def test_interrupting_leaves_with_130_and_stops_what_was_started(own_home: Path, spread) -> None:
    process = subprocess.Popen(
        [sys.executable, str(MAIN), "coordinator", "start", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    assert "demo is ready" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=50)
    assert process.returncode == 130
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in listing.splitlines() if "llama-server" in line and str(spread[0].endpoint) in line]


def test_workers_started_from_the_command_line_stay_until_stopped(run, ggml_rpc_server: Path, free_port: int) -> None:
    started = run("worker", "start", "--count", "2", "--port", str(free_port), "--json").json["workers"]
    try:
        assert [each["endpoint"] for each in run("worker", "list", "--json").json["workers"]] == [each["endpoint"] for each in started]
        assert {each["state"] for each in run("rpc", "check", "--json").json["backends"]} == {"idle"}
    finally:
        stopped = run("worker", "stop", "--json").json["stopped"]
    assert stopped == [each["endpoint"] for each in started]
    assert run("worker", "list", "--json").json["workers"] == []


def test_the_demo_is_one_command(run, llama_server, ggml_rpc_server) -> None:
    done = run("demo", "--json")
    assert done.code == 0
    expected = next(entry.answer for entry in entries() if "What is distributed inference?" in entry.questions)
    assert done.json["text"] == expected
    assert len(done.json["route"]["backends"]) == 2
    assert run("worker", "list", "--json").json["workers"] == []
