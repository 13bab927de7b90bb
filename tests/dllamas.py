"""Real distributed-llama workers on free ports, and roots over them, for every room."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ports import free_port

from synaptic.cluster.dllama_workers import DllamaWorkers
from synaptic.discovery.dllama_look import look
from synaptic.dllama.header import read_header
from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.events import Bus
from synaptic.models.model import DLLAMA, Model
from synaptic.planning.plan import Plan
from synaptic.process.child import Patience
from synaptic.process.dllama_apis import DllamaApis, Tuning
from synaptic.process.install import Engines

DEMO_M = Path(__file__).parents[1] / "config" / "demo" / "demo-q40.m"
HOST = "127.0.78.1"


def dllama_program(variable: str) -> Path:
    if not (named := os.environ.get(variable)):
        pytest.skip(f"{variable} names no program: build distributed-llama with `make dllama dllama-api` and set it to the file")
    return Path(named)


@dataclasses.dataclass(frozen=True)
class DllamaWorker:
    endpoint: Endpoint
    process: subprocess.Popen[bytes]

    def listens(self) -> bool:
        return psutil.CONN_LISTEN in self._at_its_port()

    def wait_until(self, *, listens: bool) -> None:
        """
        Asked of the kernel, for a connection would end it. Fails when it ended instead.

        One that listens no longer is seen by its root's connection: the kernel's list may lack an entry that is there.
        """
        wanted = {psutil.CONN_LISTEN} if listens else {psutil.CONN_ESTABLISHED}
        while self._at_its_port() != wanted:
            assert self.process.poll() is None, self.process.returncode
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.005)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def _at_its_port(self) -> set[str]:
        with contextlib.suppress(psutil.Error):
            sockets = psutil.Process(self.process.pid).net_connections("tcp")
            return {each.status for each in sockets if each.laddr.port == self.endpoint.port}
        return set()


@pytest.fixture
def dllama_worker() -> Iterator[Callable[..., DllamaWorker]]:
    """Starts one; at a given port it takes the place of one that is gone."""
    program = dllama_program("DLLAMA")
    started: list[subprocess.Popen[bytes]] = []

    def start(at: int = 0) -> DllamaWorker:
        port = at or free_port(HOST)
        words = ["worker", "--host", HOST, "--port", str(port), "--nthreads", "1", "--net-turbo", "0"]
        nowhere = subprocess.DEVNULL
        # SIGPIPE stays ignored, as systemd does: else a worker may die of it when its root leaves
        process = subprocess.Popen(
            [program, *words], stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True, restore_signals=False
        )
        started.append(process)
        worker = DllamaWorker(Endpoint(HOST, port), process)
        worker.wait_until(listens=True)
        return worker

    yield start
    for process in started:
        process.kill()
        process.wait(10)


@pytest.fixture
def builtin_worker() -> Iterator[Callable[..., DllamaWorker]]:
    """Starts one of our own, with one thread; at a given port it takes the place of one that is gone."""
    pytest.importorskip("numpy")
    started: list[tuple[subprocess.Popen[bytes], threading.Thread]] = []

    def start(*words: str, at: int = 0) -> DllamaWorker:
        command = [sys.executable, "-m", "synaptic.dllama.worker", "--host", HOST, "--port", str(at), "--threads", "1", *words]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(DEMO_M.parents[2]), os.environ.get("PYTHONPATH", "")))}
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=subprocess.PIPE, env=environment)
        assert process.stderr
        line = process.stderr.readline().decode()  # listening on host:port, …
        reading = threading.Thread(target=process.stderr.read)
        reading.start()
        started.append((process, reading))
        return DllamaWorker(Endpoint.parse(line.split()[2].rstrip(",")), process)

    yield start
    for process, reading in started:
        process.kill()
        process.wait(10)
        reading.join(10)
        process.stderr.close()


def demo_m(path: Path = DEMO_M) -> Model:
    header = read_header(path)
    return Model(
        name="demo-q40",
        source="file",
        path=path,
        architecture=header.architecture,
        parameters=header.parameters,
        active_parameters=header.active_parameters,
        layers=header.layers,
        context=header.context,
        quantization=header.quantization,
        bytes=header.file_bytes,
        engines=(DLLAMA,),
        temperature=0.0,
    )


@pytest.fixture
def dllama_workers() -> DllamaWorkers:
    return DllamaWorkers(Bus(), look)


@pytest.fixture
def dllama_apis(dllama_workers: DllamaWorkers, tmp_path: Path) -> Iterator[Callable[..., DllamaApis]]:
    """Makes one, of the real dllama-api or of another program; what it starts does not outlive the test."""
    made: list[DllamaApis] = []

    def make(program: Path | None = None, workers: DllamaWorkers = dllama_workers) -> DllamaApis:
        variables = {**os.environ, "DLLAMA_API": str(program or dllama_program("DLLAMA_API"))}
        engines = Engines(dataclasses.replace(Environment.of_this_process(), variables=variables))
        tuning = Tuning(Patience(start=20.0, terms=(2.0, 2.0)), threads=1)
        made.append(
            DllamaApis(
                engines, workers, Bus(), logs=tmp_path / "logs", variables=variables, tuning=lambda: tuning, state=tmp_path / "state"
            )
        )
        return made[-1]

    yield make
    for apis in made:
        for coordinator in apis.all():
            if coordinator.child.pid:
                os.killpg(coordinator.child.pid, signal.SIGKILL)


@pytest.fixture
def dllamaapi(tmp_path: Path) -> Callable[..., Path]:
    """The fake as a program, with its fault."""

    def make(fault: str, times: int = 1) -> Path:
        path = tmp_path / "dllama-api"
        words = [sys.executable, Path(__file__).parent / "fakes" / "dllamaapi.py", fault, times, tmp_path / "starts"]
        path.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} -- "$@"\n')
        path.chmod(0o755)
        return path

    return make


def plan(*workers: DllamaWorker, model: Model | None = None, context: int = 512) -> Plan:
    return Plan(model or demo_m(), tuple(worker.endpoint for worker in workers), context)
