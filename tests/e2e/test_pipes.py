"""The shell without a terminal: lines in, records out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LITTLE = Path(__file__).with_name("little_shell.py")


def pipe(*arguments: str, lines: str, command: str = "{shell}") -> subprocess.CompletedProcess[str]:
    text = command.format(shell=" ".join([sys.executable, str(LITTLE), *arguments]))
    return subprocess.run(["bash", "-c", f"set -o pipefail; {text}"], input=lines, capture_output=True, text=True, timeout=55)


def test_a_script_stops_at_its_first_failure_with_its_code() -> None:
    done = pipe(lines='# a comment\nrpc list\n"""two\nlines"""\nlittle fail\nrpc list\n')
    assert done.returncode == 4
    assert done.stdout == "a:1\tidle\nb:2\tidle\ntwo\nlines \n"
    assert "✗ nothing answers\n  try: coordinator start\n  last^[[2Jword\n" in done.stderr


def test_a_reader_that_has_seen_enough_causes_no_noise() -> None:
    done = pipe(lines="little lines\n", command="{shell} | head -1")
    assert (done.stdout, done.stderr, done.returncode) == ("line 0\n", "", 141)


def test_a_full_disk_is_a_failure_in_one_line() -> None:
    done = pipe(lines="rpc list\n", command="{shell} >/dev/full")
    assert (done.returncode, done.stderr) == (1, "✗ the answer could not be written: no space left on device\n")


def test_closed_streams_cause_no_noise() -> None:
    assert pipe(lines="rpc list\n", command="{shell} >&-").returncode == 0
    assert pipe(lines="", command="{shell} <&-").returncode == 0
    assert pipe(lines="", command="{shell} </dev/null").stdout == ""
    assert pipe(lines="rpc list\n", command="{shell} >&- 2>&-").returncode == 0


def test_json_in_the_shell_is_one_document_per_line() -> None:
    done = pipe(lines="rpc list --json\nlittle fail --json\n")
    assert done.stdout == (
        '{"backends": ["a:1", "b:2"]}\n{"error": {"kind": "engine", "message": "nothing answers", "hint": "try: coordinator start"}}\n'
    )
    assert done.returncode == 4


def test_ascii_streams_never_break_the_output() -> None:
    done = pipe(lines="héllo → ✓\nlittle fail\n", command="PYTHONIOENCODING=ascii {shell}")
    assert done.stdout == "h?llo > + \n"
    assert done.stderr.startswith("> echo\n")
    assert "x nothing answers" in done.stderr
