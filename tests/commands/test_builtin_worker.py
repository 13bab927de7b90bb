"""Our own distributed-llama worker, from the command line: started, proved, used by nobody else, stopped."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest
from program import run_main

from synaptic.dllama.session import ACK, EMPTY_SESSION

HOST = "127.0.12.1"


def runs(pid: int) -> bool:
    """A dead one may wait for its parent."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def started(own_home):
    done = run_main("worker", "start", "--engine", "builtin", "--host", HOST, "--threads", "1", "--json", cwd=own_home)
    yield done.json["workers"][0]
    run_main("worker", "stop", cwd=own_home)


def test_it_is_started_proved_and_stopped(started, own_home):
    endpoint = started["endpoint"]
    assert started["engine"] == "builtin"
    (listed,) = run_main("worker", "list", "--json", cwd=own_home).json["workers"]
    assert (listed["endpoint"], listed["engine"]) == (endpoint, "builtin")
    assert f"listening on {endpoint}" in Path(listed["log"]).read_text()
    for _ in range(3):
        (proved,) = run_main("dllama", "check", "--verify", "--json", cwd=own_home).json["backends"]
        assert (proved["endpoint"], proved["state"], proved["source"]) == (endpoint, "idle", "local")
    assert run_main("worker", "stop", endpoint, cwd=own_home).out.strip() == f"1 worker stopped: {endpoint}"
    assert not runs(started["pid"])
    assert run_main("dllama", "list", "--json", cwd=own_home).json["backends"] == []


def test_in_use_it_says_so(started, own_home):
    host, port = started["endpoint"].split(":")
    with socket.create_connection((host, int(port)), timeout=40) as root:
        root.sendall(EMPTY_SESSION[0].request)
        assert root.recv(4) == ACK
        (proved,) = run_main("dllama", "check", "--verify", "--json", cwd=own_home).json["backends"]
        assert (proved["state"], proved["detail"]) == ("busy", "serves another root")


def test_nobody_takes_it_for_an_rpc_server(started, own_home):
    assert run_main("rpc", "list", "--json", cwd=own_home).json["backends"] == []
    assert runs(started["pid"])


def test_it_has_no_cache_of_tensors(own_home):
    refused = run_main("worker", "start", "--engine", "builtin", "--cache", cwd=own_home)
    assert refused.code == 2
    assert "--cache is for llama.cpp's workers" in refused.err
