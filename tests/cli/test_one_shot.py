"""The program from the outside: words, streams, documents and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DEMO

from synaptic import __version__


def test_version_and_help_need_nothing(run) -> None:
    assert run("--version").out == f"synaptic {__version__}\n"
    text = run("--help").out
    assert "usage: synaptic" in text
    assert "rpc add" in text
    assert "exit codes: 0 ok" in text


def test_help_of_one_command_is_the_same_everywhere(run) -> None:
    assert run("rpc", "add", "--help").out == run("help", "rpc", "add").out == run(stdin="help rpc add\n").out
    assert "rpc add <endpoint>…" in run("rpc", "add", "-h").out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("rpc", "ad", "x"), 2, "unknown command: rpc ad"),
        (("--nonsense",), 2, "no such flag: --nonsense"),
        (("rpc", "add", "host:abc"), 2, "not a port: abc"),
        (("rpc", "add", "::1"), 2, "IPv4 only"),
        (("--rpc-backend", "host:abc", "status"), 2, "not a port: abc"),
        (("distributed", "on"), 3, "no workers are known"),
        (("rpc", "check", "127.0.0.1:1"), 3, "unknown worker"),
        (("rpc", "remove", "127.0.0.1:1"), 3, "not configured"),
        (("rpc", "remove"), 2, "--all"),
        (("model", "use", "nonesuch"), 4, "nonesuch"),
        (("ask", "hi", "--model", "nonesuch"), 4, "nonesuch"),
        (("ask", ""), 2, "the prompt is empty"),
        (("retry",), 2, "nothing to retry"),
        (("logs",), 1, "no logs yet"),
    ],
)
def test_a_failure_is_a_sentence_a_way_out_and_a_code(run, words: tuple[str, ...], code: int, message: str) -> None:
    done = run(*words)
    assert (done.code, message in done.err, done.out) == (code, True, "")
    as_json = run("--json", *words)
    assert as_json.code == code
    error = as_json.json["error"]
    assert isinstance(error, dict)
    assert message in error["message"]
    assert set(error) == {"kind", "message", "hint"}


def test_piped_lines_are_shell_lines_and_stop_at_the_first_failure(run) -> None:
    done = run(stdin="distributed off\n\n# a note\nrpc ad x\nhelp\n")
    assert done.code == 2
    assert "distributed off" in done.out
    assert "rpc list" not in done.out


def test_an_empty_stdin_is_no_error(run) -> None:
    assert run().code == 0


def test_workers_from_the_environment_are_used_and_never_saved(run, own_home: Path) -> None:
    done = run("rpc", "list", "--json", LLAMA_RPC_BACKENDS="127.0.0.1:1, 127.0.0.1:2,,127.0.0.1:1,:5,-x:1")
    assert [each["endpoint"] for each in done.json["backends"]] == ["127.0.0.1:1", "127.0.0.1:2"]  # type: ignore[attr-defined, index]
    assert "-x:1" in done.err
    assert not (own_home / ".synapticllamas.json").exists()


def test_the_originals_backend_flag_adds_and_saves(run, own_home: Path) -> None:
    (own_home / ".synapticllamas.json").write_text(
        '{"future": {"x": 1}, "rpc_backends": [{"host": "127.0.0.1", "port": 1, "tag": "mine"}]}'
    )
    run("--rpc-backend", "127.0.0.1:2", "--rpc-backend=127.0.0.1:1", "--enable-distributed-inference", "rpc", "list")
    saved = json.loads((own_home / ".synapticllamas.json").read_text())
    assert saved["future"] == {"x": 1}
    assert saved["rpc_backends"] == [{"host": "127.0.0.1", "port": 1, "tag": "mine"}, {"host": "127.0.0.1", "port": 2}]
    assert saved["distributed_inference_enabled"] is True


def test_reading_never_writes(run, own_home: Path) -> None:
    settings = own_home / ".synapticllamas.json"
    settings.write_text('{"unknown_future": 1}')
    before = settings.stat().st_mtime_ns
    for words in (("config", "show"), ("rpc", "list"), ("status",), ("model", "list"), ("doctor",)):
        run(*words)
    assert settings.stat().st_mtime_ns == before


def test_pipes_get_records_and_no_colour(run) -> None:
    done = run("rpc", "list", LLAMA_RPC_BACKENDS="127.0.0.1:1,127.0.0.1:2")
    lines = done.out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["127.0.0.1:1", "127.0.0.1:2"]
    assert "\x1b" not in done.out + done.err


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} main.py help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("variables", [{"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, {"TERM": "dumb", "COLUMNS": "20"}, {"NO_COLOR": "1"}])
def test_poor_terminals_and_locales_are_served(run, variables: dict[str, str]) -> None:
    for words in (("help",), ("status",), ("rpc", "list")):
        assert run(*words, **variables).code == 0


def test_no_home_works_in_memory_and_says_so(run) -> None:
    done = run("status", HOME="/nonexistent", SYNAPTICLLAMAS_HOME="")
    assert done.code == 0
    assert done.err.count("there is no home folder to keep settings in") == 1


def test_completions_are_scripts_a_shell_accepts(run) -> None:
    script = run("completions", "bash").out
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "rpc" in script


def test_doctor_names_a_way_out_that_works_for_a_server_of_the_environment(run) -> None:
    done = run("doctor", OLLAMA_HOST="127.0.0.1:1")
    assert "start it there, or change OLLAMA_HOST" in done.out
    assert "nodes remove" not in done.out


def test_doctor_names_what_is_missing_and_fails(run) -> None:
    done = run("doctor", "--json", LLAMA_SERVER="/nonexistent/llama-server", GGML_RPC_SERVER="", PATH="/usr/bin:/bin")
    checks = {check["what"]: check for check in done.json["checks"]}  # type: ignore[attr-defined, index]
    assert done.code == 1
    assert checks["python"]["mark"] == "✓"
    assert checks["llama-server"]["mark"] == "✗"


def test_doctor_does_not_call_broken_what_the_built_in_engine_stands_in_for(run) -> None:
    pytest.importorskip("numpy")
    done = run("doctor", "--json", LLAMA_SERVER="", GGML_RPC_SERVER="", PATH="/usr/bin:/bin")
    checks = {check["what"]: check for check in done.json["checks"]}  # type: ignore[attr-defined, index]
    assert checks["llama-server"]["mark"] == "!"
    assert "the built-in engine runs the demo" in checks["llama-server"]["detail"]
    assert "engine install" in checks["llama-server"]["fix"]


def test_a_model_that_is_no_model_is_said(run, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"not a model")
    done = run("ask", "hi", "--model", str(path))
    assert done.code == 4
    assert "x.gguf" in done.err


def test_without_an_engine_the_way_to_one_is_told(run, own_home: Path) -> None:
    model = own_home / "mine.gguf"
    model.write_bytes(DEMO.read_bytes())
    done = run("ask", "hi", "--model", str(model), LLAMA_SERVER="", PATH="/usr/bin:/bin")
    assert done.code == 4
    assert "engine install llama.cpp" in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_settings_file_is_named(run, own_home: Path) -> None:
    (own_home / ".synapticllamas.json").write_text("{}")
    own_home.chmod(0o500)
    assert run("distributed", "off").code == 1


def test_the_demo_model_is_shipped() -> None:
    assert DEMO.stat().st_size < 4 * 1024 * 1024


def test_flags_without_effect_say_so_and_stop_nothing(run) -> None:
    done = run("--dask", "-w", "3", "rpc", "list")
    assert done.code == 0
    assert [line.split()[0] for line in done.err.splitlines()[:2]] == ["--dask:", "--workers"]


def test_servers_named_by_flags_are_saved_and_stdout_stays_the_commands(run, own_home: Path) -> None:
    nodes = own_home / "nodes.json"
    nodes.write_text('{"nodes": [{"url": "http://127.0.0.1:2", "name": "two", "priority": 5}]}')
    done = run("--add-node", "http://127.0.0.1:3", "--load-config", str(nodes), "nodes", "list", "--json")
    assert done.code == 0
    assert "no server listens there" in done.err
    urls = {each["url"] for each in json.loads(done.out)["backends"]}
    assert {"http://127.0.0.1:2", "http://127.0.0.1:3"} <= urls
    again = run("nodes", "list", "--json")
    assert urls == {each["url"] for each in json.loads(again.out)["backends"]}


def test_a_file_of_servers_that_cannot_be_read_stops_the_run(run) -> None:
    done = run("--load-config", "nowhere.json", "rpc", "list")
    assert (done.code, done.out) == (1, "")
    assert "nowhere.json cannot be read" in done.err
