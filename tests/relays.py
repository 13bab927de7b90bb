"""Coordinators that reach real workers through relays, and what asks them."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from conftest import DEMO, Worker

from synaptic.cluster.pool import Pool
from synaptic.engines.engine import Message, Request
from synaptic.engines.over_workers import server_of
from synaptic.environment import Environment
from synaptic.events import Bus
from synaptic.models.catalog import Catalog
from synaptic.models.model import Model
from synaptic.planning.plan import Plan
from synaptic.process.child import Patience, State
from synaptic.process.coordinator import Coordinator
from synaptic.process.coordinators import Coordinators
from synaptic.process.install import Engines
from synaptic.process.relayed import Relayed

QUESTION = Request((Message("user", "What is a worker?"),), "demo", temperature=0.0, max_tokens=24)
Program = Callable[..., Coordinators]


@pytest.fixture
async def program(llama_server: Path, tmp_path: Path) -> AsyncIterator[Program]:
    """Makes the coordinators of programs that share one ledger."""
    made: list[Coordinators] = []

    def make(relayed: Relayed = Relayed(True, 2.0), bus: Bus | None = None) -> Coordinators:  # noqa: B008 - frozen
        heard = bus or Bus()
        coordinators = Coordinators(
            Engines(Environment.of_this_process()),
            Pool(heard),
            heard,
            logs=tmp_path / "logs",
            variables=os.environ,
            tuning=lambda: (Patience(start=20.0, terms=(1.0, 1.0)), 1),
            state=tmp_path / "coordinators",
            relayed=lambda: relayed,
        )
        made.append(coordinators)
        return made[-1]

    yield make
    for each in made:
        await each.stop()


@pytest.fixture
def demo() -> Model:
    return Catalog(lambda: (), DEMO).find("demo")


def plan(model: Model, *workers: Worker) -> Plan:
    return Plan(model, tuple(worker.endpoint for worker in workers), 512)


async def answer(coordinator: Coordinator) -> str:
    coordinator.generating += 1
    try:
        return "".join([chunk.text async for chunk in server_of(coordinator, 20.0).generate(QUESTION)])
    finally:
        coordinator.generating -= 1


async def until(coordinator: Coordinator, state: State) -> None:
    async with asyncio.timeout(30):
        while coordinator.state is not state:
            await asyncio.sleep(0.01)


def relays(coordinator: Coordinator) -> list[psutil.Process]:
    """The one that watches, and the one that works."""
    assert coordinator.child.pid
    return psutil.Process(coordinator.child.pid).children(recursive=True)


async def gone(processes: list[psutil.Process]) -> None:
    """A zombie counts as gone: whoever inherits it here may never look."""
    async with asyncio.timeout(20):
        while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes):
            await asyncio.sleep(0.01)


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@dataclasses.dataclass(frozen=True)
class Certificate:
    """NAME.pem, its key beside it; valid for 127.0.0.2."""

    path: Path

    @classmethod
    def made(cls, folder: Path, name: str) -> Certificate:
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-addext", "subjectAltName=IP:127.0.0.2")
        openssl(folder, "req", "-x509", *kind, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        return cls(folder / f"{name}.pem")
