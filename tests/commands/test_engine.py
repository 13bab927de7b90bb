"""`engine list`, `engine path`: as a script sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

MAIN = Path(__file__).parents[2] / "main.py"


def program(path: Path, says: str = "") -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, MAIN, *words], env={**os.environ, **variables}, capture_output=True, text=True, timeout=30, check=False
    )


def test_engine_list_says_where_each_program_is_and_what_to_do_about_the_others(tmp_path):
    server = program(tmp_path / "server", says="version: 1.2.3 (abc)")
    answer = run("engine", "list", "--json", LLAMA_SERVER=str(server), DLLAMA=str(tmp_path / "gone"), GGML_RPC_SERVER="", PATH="/nowhere")
    assert answer.returncode == 0, answer.stderr
    listed = {each["name"]: each for each in json.loads(answer.stdout)["engines"]}
    assert listed["llama-server"] == {
        "name": "llama-server",
        "path": str(server),
        "source": "environment",
        "version": "1.2.3 (abc)",
        "hint": None,
        "build": None,
    }
    assert listed["ggml-rpc-server"]["path"] is None
    assert listed["ggml-rpc-server"]["hint"] == "try: engine install llama.cpp"
    assert "DLLAMA names" in listed["dllama"]["hint"]


def test_engine_path_prints_the_path_alone(tmp_path):
    server = program(tmp_path / "my server")
    answer = run("engine", "path", "llama-server", LLAMA_SERVER=str(server))
    assert (answer.returncode, answer.stdout) == (0, f"{server}\n"), answer.stderr


def test_engine_path_of_a_missing_program_fails_with_the_exit_code_of_engines():
    answer = run("engine", "path", "dllama", DLLAMA="", PATH="/nowhere")
    assert answer.returncode == 4
    assert "DLLAMA" in answer.stderr
