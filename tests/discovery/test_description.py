"""What others are told of a worker: what is known of it, and nothing that is not."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from synaptic import __version__
from synaptic.cluster.backend import Backend, Device, Kind, State
from synaptic.discovery.description import Description, describe, describe_dllama
from synaptic.endpoint import Endpoint

HERE = {"arch": platform.machine(), "role": "worker", "ver": __version__}


def worker(state: State, *devices: Device, version: str | None = None) -> Backend:
    return Backend(Endpoint("10.77.0.1", 50052), Kind.RPC, state, version, devices)


def test_nothing_is_said_of_what_is_not_known():
    assert describe(None, None).text() == HERE
    assert describe(worker(State.UNVERIFIED), None).text() == HERE


def test_everything_that_is_known_is_said_in_the_words_of_each_list():
    devices = (Device("RPC0", 1 << 30, 3 << 30), Device("RPC1", 0, (1 << 30) + 5))
    said = describe(worker(State.IDLE, *devices, version="7.0.0"), None)
    assert said.text() == HERE | {"proto": "7.0.0", "devs": "2", "mem": "4096", "st": "idle"}
    said = Description("7.0.0", "CPU", 1, 24105, 2, "busy")
    assert said.text() == HERE | {"proto": "7.0.0", "be": "CPU", "devs": "1", "mem": "24105", "thr": "2", "st": "busy"}
    theirs = {"proto": "7.0.0", "backend": "CPU", "devs": "1", "mem_mib": "24105", "threads": "2", "state": "busy"}
    assert said.meta() == theirs | {"arch": platform.machine(), "role": "worker", "version": __version__}


@pytest.mark.parametrize(
    ("state", "told"),
    [(State.IDLE, "idle"), (State.INCOMPATIBLE, "idle"), (State.IN_USE, "busy"), (State.BUSY, "busy"), (State.UNREACHABLE, None)],
)
def test_its_state_is_whether_another_could_use_it(state, told):
    assert describe(worker(state), None).state == told


@pytest.mark.parametrize(("words", "threads"), [(["-t", "3"], 3), (["--threads", "4", "-t", "5"], 5), (["-t", "x"], None), (["-t"], None)])
def test_threads_and_processor_are_those_of_its_process(words, threads):
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()  # it runs what it was started for
        said = describe(None, process.pid)
        process.kill()
    assert (said.threads, said.backend) == (threads, "CPU")


def test_one_for_distributed_llama_tells_its_engine_and_the_model_that_it_holds():
    words = ["--threads", "2", "--model", "/models/qwen3-8b.m"]
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        said = describe_dllama(Backend(Endpoint("10.0.0.1", 9999), Kind.DLLAMA, State.IN_USE), process.pid)
        process.kill()
    assert said.kind is Kind.DLLAMA
    known = {"engine": "synaptic", "ver": __version__, "model": "qwen3-8b.m", "thr": "2", "st": "busy", "role": "worker"}
    assert said.text().items() >= known.items()


def test_of_a_process_that_has_gone_nothing_is_known():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert describe(None, process.pid) == Description()
