"""A machine with nothing but Python packages answers, alone and with workers of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from faq import entries
from program import run_main

pytest.importorskip("numpy")
REPOSITORY = Path(__file__).parents[2]
MODEL = str(REPOSITORY / "config" / "demo" / "demo-q40.m")
QUESTION = "What is a worker?"
ANSWER = next(entry.answer for entry in entries() if QUESTION in entry.questions)
HOST = "127.0.12.2"


@pytest.fixture
def bare(own_home: Path, monkeypatch: pytest.MonkeyPatch):
    """No engine program is installed or named."""
    for name in ("LLAMA_SERVER", "GGML_RPC_SERVER", "DLLAMA", "DLLAMA_API"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if "engines" not in part))
    return lambda *words, **more: run_main(*words, cwd=own_home, **more)


@pytest.fixture
def workers(bare):
    """Two of our own."""
    started = bare("worker", "start", "--engine", "builtin", "--count", "2", "--host", HOST, "--threads", "1", "--json")
    yield [each["endpoint"] for each in started.json["workers"]]
    bare("worker", "stop")


def test_a_machine_without_engines_answers(bare) -> None:
    done = bare("ask", QUESTION, "--model", MODEL, "--json")
    assert (done.code, done.json["text"], done.json["complete"]) == (0, ANSWER, True)
    assert done.json["route"] == {"via": "builtin", "backends": [], "why": "by the built-in root: distributed is off"}
    assert done.json["usage"]["completion_tokens"] > 10


def test_a_model_of_another_kind_is_refused(bare) -> None:
    assert bare("dllama", "root", "demo").code == 2


@pytest.mark.parametrize(("split", "used"), [("layers", 2), ("tensor", 1), ("none", 0)])
def test_over_own_workers_in_every_cut_the_answer_is_the_same(bare, workers, split: str, used: int) -> None:
    """With two workers, shares of every layer can be cut for one of them only: nodes are a power of two."""
    done = bare(stdin=f"dllama root {MODEL} --split {split}\nask --model {MODEL} --json {QUESTION}\n")
    assert (done.code, ANSWER in done.out) == (0, True), done.err
    assert f"is ready · builtin · {['this machine', '1 worker', '2 workers'][used]}" in done.err + done.out
    assert bare("dllama", "check", "--verify", "--json").code == 0, "they serve the next root"


def test_distributed_on_uses_them_by_itself(bare, workers) -> None:
    assert bare("distributed", "on").code == 0
    done = bare("ask", QUESTION, "--model", MODEL, "--json")
    assert done.json["text"] == ANSWER
    assert sorted(done.json["route"]["backends"]) == sorted(workers)


def test_the_demo_needs_nothing_compiled(bare) -> None:
    done = bare("demo", "--json")
    assert (done.code, done.json["complete"], done.json["route"]["via"]) == (0, True, "builtin")
    assert len(done.json["route"]["backends"]) == 2
    assert bare("worker", "stop").code == 0


def test_the_shipped_model_is_answered_without_llama_cpp(bare) -> None:
    done = bare("ask", QUESTION, "--json")
    assert (done.json["text"], done.json["model"], done.json["route"]["via"]) == (ANSWER, "demo", "builtin")


def test_the_built_in_engine_has_it_too_where_llama_cpp_is(bare, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLAMA_SERVER", "GGML_RPC_SERVER"):
        monkeypatch.setenv(name, sys.executable)
    done = bare("ask", QUESTION, "--model", "demo", "--via", "builtin", "--json")
    assert (done.json["text"], done.json["model"], done.json["route"]["via"]) == (ANSWER, "demo", "builtin")


def test_who_wants_llama_cpp_is_told_what_it_lacks(bare) -> None:
    done = bare("ask", "--via", "llama.cpp", QUESTION)
    assert done.code == 4
    assert "engine install llama.cpp" in done.err
