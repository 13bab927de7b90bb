"""Our distributed-llama workers tell the link of themselves, and `dllama discover` on another machine hears it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from namespaces import ENTER, in_namespaces

from synaptic import __version__
from synaptic.dllama.announce import reached

REPOSITORY = Path(__file__).parents[2]
MODEL = REPOSITORY / "config" / "demo" / "demo-q40.m"
PORT = 10123  # none that a sweep looks at: only the link knows of it
TWO_MACHINES = """
    ip link set lo up
    ip link add lan0 type veth peer name lan1
    mkfifo up go
    unshare --net sh -c 'echo up > up; read go < go; ip link set lo up; ip link set lan1 up; ip address add 10.77.0.2/29 dev lan1
        exec "$@"' sh "$@" &
    other=$!; read up < up
    ip link set lan1 netns $other; ip address add 10.77.0.1/29 dev lan0; ip link set lan0 up
    echo go > go
"""
LOOK = f"""
    until {sys.executable} {REPOSITORY}/main.py dllama discover --subnet 10.77.0.0/29 --json > found
          grep -q "says it is" found; do :; done"""
pytestmark = [in_namespaces, pytest.mark.skipif(not pytest.importorskip("numpy"), reason="needs numpy")]


def heard(home: Path, here: str) -> dict[str, object]:
    """`here`: lines of shell, run beside the machine that looks around; what that found of the worker."""
    script = f"{TWO_MACHINES}\n{here}\nwait $other"
    words = [*ENTER[:-1], "--mount-proc", ENTER[-1], "sh", "-ec", script, "sh", "sh", "-c", LOOK]
    environment = os.environ | {"SYNAPTIC_TEST_NAMESPACE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=55, cwd=home, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((home / "found").read_text())["found"]
    return dict(found)


def test_a_worker_that_is_started_alone_announces_itself_when_asked_to(own_home: Path):
    worker = f"{sys.executable} -m synaptic.dllama.worker --host 10.77.0.1 --port {PORT} --threads 1 --announce --model {MODEL}"
    until_it_says_so = "until grep -q announced log; do sleep 0.1; done"  # others may hear of it before it does
    found = heard(own_home, f"PYTHONPATH={REPOSITORY}:$PYTHONPATH {worker} 2> log &\n{until_it_says_so}")
    assert (found["endpoint"], found["kind"], found["source"]) == (f"10.77.0.1:{PORT}", "dllama", "zeroconf")
    assert f"says it is synaptic {__version__} · holds {MODEL.name}" in found["detail"]
    assert "announced by zeroconf at 10.77.0.1" in (own_home / "log").read_text()


def test_a_shell_announces_those_that_it_started(own_home: Path):
    lines = f"config set announce on\nworker start --engine builtin --host 10.77.0.1 --port {PORT} --threads 1 --model {MODEL}\n"
    (own_home / "lines").write_text(lines)
    found = heard(
        own_home, f"(cat lines; while ! grep -q says found; do sleep 0.1; done) | {sys.executable} {REPOSITORY}/main.py > shell 2>&1 &"
    )
    assert (found["endpoint"], found["kind"], found["source"]) == (f"10.77.0.1:{PORT}", "dllama", "zeroconf")
    assert f"says it is synaptic {__version__} · holds {MODEL.name}" in found["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.12.9", "localhost", "::1", "10.99.0.1", "0.0.0.0.0"])
def test_what_others_cannot_reach_is_not_told(host: str):
    assert reached(host) == []


def test_a_listener_on_loopback_says_that_it_is_not_announced(own_home: Path):
    words = [sys.executable, "-m", "synaptic.dllama.worker", "--port", "0", "--announce"]
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, cwd=own_home, env=os.environ | {"PYTHONPATH": f"{REPOSITORY}"}
    ) as worker:
        assert worker.stderr
        listening, reached_at, announced = (worker.stderr.readline() for _ in range(3))
        worker.terminate()
    assert "listening on" in listening
    assert "this machine alone reaches it" in reached_at
    assert "not announced: nobody else reaches 127.0.0.1" in announced
