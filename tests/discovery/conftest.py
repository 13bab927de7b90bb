"""Networks on 127.0.0.0/8, full of servers; what each connection did to them is told in the end."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import psutil
import pytest
from ports import free_port
from program import Done, run_main

from synaptic.cluster.pool import Pool, Version
from synaptic.discovery.limits import Limits
from synaptic.endpoint import Endpoint
from synaptic.events import Bus

FAKES = Path(__file__).parents[1] / "fakes"
QUICK = Limits(at_once=256, timeout=0.3)


@dataclasses.dataclass(frozen=True)
class Population:
    """`kinds`: what lives at which address."""

    port: int
    kinds: dict[str, str]
    process: subprocess.Popen[str]

    def at(self, *kinds: str) -> set[str]:
        return {address for address, kind in self.kinds.items() if kind in kinds}

    def endpoint(self, kind: str) -> Endpoint:
        return Endpoint(*self.at(kind), self.port)

    def end(self) -> list[tuple[str, str]]:
        """(kind, how it ended) of every connection that was accepted."""
        told, _ = self.process.communicate("end\n", timeout=50)
        ends = [line.split(" ", 3) for line in told.splitlines()]
        return [(kind, how) for word, _, kind, how in ends if word == "ended"]


class Populate(Protocol):
    def __call__(self, *kinds: str, first: str = ..., port: int = ...) -> Population: ...


@pytest.fixture
def populate(launch: Launch) -> Populate:
    def start(*kinds: str, first: str = "127.0.7.1", port: int = 0) -> Population:
        fake = launch("population.py", "--first", first, "--port", str(port or free_port("0.0.0.0")), *kinds)
        assert fake.process.stdout
        there: dict[str, str] = {}
        while (line := fake.process.stdout.readline().strip()) != "ready":
            _, address, kind = line.split()
            there[address] = kind
        return Population(fake.port, there, fake.process)

    return start


@dataclasses.dataclass(frozen=True)
class Fake:
    port: int
    process: subprocess.Popen[str]

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


Launch = Callable[..., Fake]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Starts a program of tests/fakes that says `port N` first."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *options: str) -> Fake:
        process = subprocess.Popen(
            [sys.executable, str(FAKES / program), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout
        _, _, port = process.stdout.readline().partition("port ")
        return Fake(int(port), process)

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def pool() -> Pool:
    return Pool(Bus(), speaks=Version(7, 0, 0))


@pytest.fixture
def discover(own_home: Path) -> Callable[..., Done]:
    """Runs the whole program; `within` are the words of a command that runs it in another world."""
    return partial(run_main, cwd=own_home)


@pytest.fixture
def real_agent(tmp_path: Path) -> Iterator[int]:
    if not (program := os.environ.get("CONSUL_BINARY")):
        pytest.skip("CONSUL_BINARY names no program: no real Consul agent to ask")
    http, *others = (free_port() for _ in range(4))
    ports = dict(zip(("serf_lan", "serf_wan", "server"), others, strict=True)) | {"http": http, "dns": -1, "grpc": -1}
    (tmp_path / "agent.json").write_text(json.dumps({"disable_update_check": True, "node_name": "node-1", "ports": ports}))
    words = (
        "agent",
        "-dev",
        "-bind",
        "127.0.0.1",
        "-client",
        "127.0.0.1",
        "-log-level",
        "info",
        "-config-file",
        str(tmp_path / "agent.json"),
    )
    agent = subprocess.Popen([program, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with agent:
        assert agent.stdout
        assert any("Synced node info" in line for line in agent.stdout), "the agent ended"
        yield http
        psutil.Process(agent.pid).kill()
        agent.stdout.read()
