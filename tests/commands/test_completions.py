"""The scripts for the user's own shell, in those shells."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest

from synaptic.commands import load
from synaptic.results import Note


def script(shell: str) -> str:
    note = asyncio.run(load().parse_line(f"completions {shell}").run(None))
    assert isinstance(note, Note)
    return note.text


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["r"], ["retry", "refine", "rpc"]),
        (["rpc", "ad"], ["add"]),
        (["rpc", "add", ""], []),
        (["bench", "run", "--co"], ["--concurrency"]),
        (["ask", "--via", "o"], ["ollama", "openai"]),
        (["dllama", "worker", "--h"], ["--host"]),
        (["strategy", "s"], ["single"]),
        (["help", "benc"], ["bench"]),
    ],
)
def test_bash_offers_what_fits_there(typed: list[str], offered: list[str]) -> None:
    said = 'COMP_WORDS=(synaptic "$@"); COMP_CWORD=$#; _synaptic; echo "${COMPREPLY[*]}"'
    done = subprocess.run(
        ["bash", "-c", f"{script('bash')}\n{said}", "bash", *typed], capture_output=True, text=True, timeout=50, check=True
    )
    assert (sorted(done.stdout.split()), done.stderr) == (sorted(offered), "")


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not here")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [("rpc ad", "add"), ("bench run --co", "--concurrency"), ("ask --via ope", "openai"), ("dllama worker --h", "--host")],
)
def test_fish_offers_what_fits_there(typed: str, offered: str) -> None:
    done = subprocess.run(
        ["fish", "-c", f"{script('fish')}\ncomplete -C 'synaptic {typed}'"], capture_output=True, text=True, timeout=50, check=True
    )
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [offered]


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not here")
def test_zsh_reads_its_script() -> None:
    done = subprocess.run(["zsh", "-fn"], input=script("zsh"), capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
