"""What a shell tells others and hears of them; on two machines and a cable, with a Consul agent."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from synaptic import __version__
from synaptic.environment import Environment
from synaptic.events import Noticed
from synaptic.session import Session
from synaptic.settings import Settings

FAKES = Path(__file__).parents[1] / "fakes"
ENTER = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child")
SETUP = """
    ip link set lo up
    ip link add lan0 type veth peer name lan1
    mkfifo "$HOME/there" "$HOME/end"
    unshare --net sh -c 'echo up > "$HOME/there"; read go < "$HOME/end"; ip link set lo up; ip link set lan1 up
        ip address add 10.77.0.2/29 dev lan1; exec "$0" "$@" > "$HOME/told"' "$1" "$2" 10.77.0.2 &
    other=$!; read up < "$HOME/there"
    ip link set lan1 netns $other; ip address add 10.77.0.1/29 dev lan0; ip link set lan0 up
    echo go > "$HOME/end"; : >> "$HOME/told"
    shift 2
    exec "$@"
"""


def can_enter() -> bool:
    words = [*ENTER, "sh", "-c", "ip link set lo up && ip link add here type veth peer name there"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def agent() -> list[str]:
    if program := os.environ.get("CONSUL_BINARY"):
        return [program, "agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1"]
    return [sys.executable, str(FAKES / "consulfake.py"), "--port", "8500"]


@pytest.mark.live
@pytest.mark.skipif(not can_enter(), reason="no network namespace can be made here (needs unshare, ip and user namespaces)")
def test_a_shell_that_announces_tells_of_its_worker_and_proposes_those_of_others(ggml_rpc_server: Path, own_home: Path):
    telling = [sys.executable, str(FAKES / "telling.py"), "10.77.0.1", str(own_home / "told"), *agent()]
    words = [*ENTER, "sh", "-ec", SETUP, "sh", sys.executable, str(FAKES / "neighbour.py"), *telling]
    environment = os.environ | {"SYNAPTIC_TEST_NAMESPACE": "1", "CONSUL_HTTP_ADDR": "127.0.0.1:8500"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=55, cwd=own_home, env=environment, check=False)
    assert done.stderr == ""
    told = json.loads(done.stdout.splitlines()[-1])
    common = {"proto": "7.0.0", "devs": "1", "arch": platform.machine(), "role": "worker"}
    assert told["meta"].items() >= (common | {"threads": "1", "state": "idle", "version": __version__}).items()
    assert told["text"].items() >= (common | {"txtvers": "1", "thr": "1", "st": "idle", "ver": __version__}).items()
    assert told["text"]["mem"] == told["meta"]["mem_mib"]
    assert int(told["text"]["mem"]) > 100
    assert "zeroconf knows a new worker 10.77.0.2:50052   try: rpc add 10.77.0.2:50052" in told["talk"]
    assert "consul knows a new worker 10.77.0.5:50052   try: rpc add 10.77.0.5:50052" in told["talk"]
    assert told["talk"].count("new worker") == 2
    assert (told["left"], told["code"]) == (["10.77.0.5"], 0)


def session(home: Path, agent: int, *, announce: bool = False) -> Session:
    variables = {"SYNAPTICLLAMAS_HOME": str(home), "PATH": "", "CONSUL_HTTP_ADDR": f"127.0.0.1:{agent}"}
    made = Session(Environment(variables, sys.stdin, sys.stdout, sys.stderr), Settings.load(home / "settings.json", {}))
    if announce:
        made.settings.save(announce=True)
    return made


@pytest.mark.anyio
async def test_one_command_tells_nobody_and_asks_nobody(own_home: Path, free_port: int):
    command = session(own_home, free_port, announce=True)
    command.know_backends()
    assert "presence" not in vars(command)
    await command.close()


@pytest.mark.anyio
async def test_a_shell_that_does_not_announce_looks_into_consul_and_writes_nothing_there(launch, own_home: Path):
    fake = launch("consulfake.py")
    shell = session(own_home, fake.port)
    shell.is_shell = True
    pool = shell.know_backends()
    asked = [await asyncio.to_thread(fake.line) for _ in range(2)]
    assert all(line.startswith("GET /v1/health/service/llama-rpc?passing=1") for line in asked)
    async with asyncio.timeout(20):
        with shell.bus.subscribe(Noticed) as notices:
            fake.process.stdin.write("add llama-rpc=10.77.0.5:50052\n")
            fake.process.stdin.flush()
            async for notice in notices:
                assert notice.text.startswith("consul knows a new worker 10.77.0.5:50052")
                break
    await shell.close()
    assert pool.records() == []
