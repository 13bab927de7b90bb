"""
A shell that tells of its worker, on a machine with a Consul agent: telling.py ADDRESS TOLD AGENT…

TOLD is what neighbour.py wrote, beside us; AGENT the words that start an agent on port 8500. Prints what became of it as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

MAIN = Path(__file__).parents[2] / "main.py"
AGENT = "http://127.0.0.1:8500/v1"
T = TypeVar("T")


def main(address: str, told: str, *agent: str) -> None:
    with subprocess.Popen(agent, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as consul:
        try:
            until(lambda: listed() is not None, consul)
            print(json.dumps(told_by_a_shell(address, Path(told))))
        finally:
            consul.kill()


def told_by_a_shell(address: str, told: Path) -> dict[str, object]:
    talk = told.with_name("talk")
    with talk.open("w") as errors, subprocess.Popen([sys.executable, str(MAIN)], stdin=subprocess.PIPE, stderr=errors) as shell:

        def say(line: str) -> None:
            assert shell.stdin
            shell.stdin.write(line.encode() + b"\n")
            shell.stdin.flush()

        def proposed(source: str) -> bool:
            say("worker list")  # what is noticed is shown before the next line
            return f"{source} knows a new worker" in talk.read_text()

        say("config set announce on")
        say(f"worker start --host {address} --threads 1")
        meta = until(lambda: next((meta for meta in (listed() or {}).values() if "state" in meta), None), shell)
        until(told.read_text, shell)
        until(lambda: proposed("zeroconf"), shell)
        register("10.77.0.5")
        until(lambda: proposed("consul"), shell)
    until(lambda: "gone" in told.read_text())
    text = json.loads(told.read_text().splitlines()[0])
    return {"meta": meta, "text": text, "left": list(listed() or ()), "talk": talk.read_text(), "code": shell.returncode}


def until(look: Callable[[], T], *processes: subprocess.Popen[bytes]) -> T:
    """As long as these run."""
    while not (seen := look()):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)
    return seen


def listed() -> dict[str, dict[str, str]] | None:
    """None: no agent answers."""
    try:
        with urllib.request.urlopen(f"{AGENT}/health/service/llama-rpc?passing=1") as answer:
            return {each["Service"]["Address"]: each["Service"]["Meta"] for each in json.load(answer)}
    except OSError:
        return None


def register(address: str) -> None:
    check = {"CheckID": "check", "TTL": "1h", "Status": "passing"}
    document = {"ID": "another", "Name": "llama-rpc", "Address": address, "Port": 50052, "Check": check}
    put = urllib.request.Request(f"{AGENT}/agent/service/register", json.dumps(document).encode(), method="PUT")
    with urllib.request.urlopen(put):
        pass


main(*sys.argv[1:])
