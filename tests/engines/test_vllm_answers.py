"""Answers from vLLM as a user gets them: where they go, and what becomes of them when a server is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from program import MAIN, Done, run_main
from vllms import METRICS, StartVllm, until_healthy

ANSWER = "A worker lends its memory and compute to whoever asks."
LONG = "20"  # seconds that a busy machine may take


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Done]:
    return lambda *words, **variables: run_main(*words, cwd=tmp_path, **variables)


def test_an_answer_that_breaks_off_goes_on_at_the_other(program, vllmfake) -> None:
    first, second = vllmfake("--cut-after", 4, "--metrics", METRICS), vllmfake("--metrics", METRICS)
    program("nodes", "add", first, "--priority", "1", "--timeout", LONG)
    program("nodes", "add", second, "--timeout", LONG)
    done = program("ask", "What is a worker?", "-m", "tiny", "--json")
    assert done.json["text"] == ANSWER
    assert (done.code, done.json["complete"], done.json["finish_reason"]) == (0, True, "stop")
    [failover] = done.json["failovers"]
    assert (failover["lost"], failover["after_tokens"]) == ([first], 4)
    assert done.json["route"]["backends"] == [second.removeprefix("http://")]


def test_without_another_it_says_what_is_missing_and_keeps_what_there_is(program, vllmfake) -> None:
    url = vllmfake("--cut-after", 4, "--metrics", METRICS)
    program("nodes", "add", url, "--timeout", LONG)
    done = program("ask", "What is a worker?", "-m", "tiny", "--json")
    assert done.code == 4
    assert (done.json["text"], done.json["complete"]) == ("A worker lends its", False)
    assert f"no server that has tiny is ready: {url}" in done.err + done.out


def test_another_model_of_the_same_name_does_not_go_on(program, vllmfake) -> None:
    program("nodes", "add", vllmfake("--cut-after", 4), "--priority", "1", "--timeout", LONG)
    program("nodes", "add", vllmfake("--vocabulary", 3), "--timeout", LONG)
    done = program("ask", "What is a worker?", "-m", "tiny", "--json")
    assert (done.code, done.json["text"]) == (4, "A worker lends its")
    assert "has another vocabulary" in done.err + done.out


def test_a_server_that_is_full_sends_us_to_the_other(program, vllmfake) -> None:
    program("nodes", "add", vllmfake("--refuse", "busy"), "--priority", "1", "--timeout", LONG)
    program("nodes", "add", vllmfake(), "--timeout", LONG)
    assert program("ask", "What is a worker?", "-m", "tiny").out.strip() == ANSWER


def test_the_one_with_less_to_do_is_asked_and_the_route_says_why(program, vllmfake) -> None:
    busy = vllmfake("--metrics", METRICS, "--running", 4, "--waiting", 8, "--kv", 0.99)
    free = vllmfake("--metrics", METRICS, "--running", 4, "--kv", 0.6)
    program("nodes", "add", busy, "--timeout", LONG)
    program("nodes", "add", free, "--timeout", LONG)
    route = program("ask", "What is a worker?", "-m", "tiny", "--json").json["route"]
    assert route["backends"] == [free.removeprefix("http://")]
    assert "4 running and 0 waiting there, its KV cache 60% full" in route["why"]


def test_its_key_comes_from_the_environment_and_goes_nowhere_else(program, vllmfake, own_home: Path) -> None:
    url = vllmfake("--key", "sesame-7", "--metrics", METRICS)
    program("nodes", "add", url, "--key-env", "ATTIC_KEY", "--timeout", LONG, ATTIC_KEY="sesame-7")
    told = program("nodes", "list", "--json", ATTIC_KEY="sesame-7")
    assert told.json["backends"][0]["health"] == "ready"
    done = program("ask", "What is a worker?", "-m", "tiny", "--debug", ATTIC_KEY="sesame-7")
    assert done.out.strip() == ANSWER
    kept = [path for path in own_home.rglob("*") if path.is_file() and b"sesame-7" in path.read_bytes()]
    assert not kept
    assert "sesame-7" not in told.out + done.out + done.err


def test_it_is_shown_as_what_it_is(program, vllmfake) -> None:
    url = vllmfake("--metrics", METRICS, "--running", 3, "--waiting", 2, "--kv", 0.42)
    assert f"{url}   vLLM 0.32.0 · 1 model" in program("nodes", "add", url, "--timeout", LONG).out
    row = program("nodes", "health", "--timeout", LONG).out
    assert "vLLM 0.32.0" in row
    assert "3 + 2 waiting" in row
    assert "tiny (512 tokens) · KV cache 42% · first token" in row
    assert f"{url.removeprefix('http://')} vLLM 0.32.0 (3 running, 2 waiting)" in program("status").out


@pytest.mark.live
@pytest.mark.timeout(900)
def test_the_real_one_is_killed_and_another_ends_the_answer_with_the_same_words(program, vllm: StartVllm, tmp_path: Path) -> None:
    first, second = vllm(VLLM_API_KEY="sesame-7"), vllm(VLLM_API_KEY="sesame-7")
    until_healthy(first, second)
    key = {"ATTIC_KEY": "sesame-7"}
    program("config", "set", "temperature", "0")
    assert "vLLM" in program("nodes", "add", second.url, "--key-env", "ATTIC_KEY", "--timeout", LONG, **key).out
    alone = program("ask", "What is a worker?", "-m", "tiny", **key).out
    program("nodes", "add", first.url, "--priority", "1", "--key-env", "ATTIC_KEY", "--timeout", LONG, **key)
    words = [sys.executable, str(MAIN), "ask", "What is a worker?", "-m", "tiny"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | key, cwd=tmp_path) as asking:
        assert asking.stdout
        assert asking.stderr
        begun = asking.stdout.read(40)
        first.kill()
        rest, said = asking.stdout.read(), asking.stderr.read()
    assert (begun + rest).decode() == alone
    assert f"server {first.url} was lost; the answer goes on, on {second.url.removeprefix('http://')}".encode() in said
    [state] = [each for each in program("nodes", "list", "--json", **key).json["backends"] if each["url"] == second.url]
    assert (state["software"], state["version"][:2], state["models"][0]["context"]) == ("vLLM", "0.", 512)
    assert state["load"]["ttft"]["p50"] > 0
    assert state["load"]["itl"]["p90"] >= state["load"]["itl"]["p50"] > 0
