"""Relays as a user asks for them: for now, for ever, and beside a worker."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Worker
from relays import Certificate

pytestmark = pytest.mark.live


def lines(text: str) -> list[dict[str, dict[str, object]]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_flag_counts_for_this_run_and_the_setting_for_all(run, llama_server: Path, rpc_worker: Callable[..., Worker]) -> None:
    run("rpc", "add", str(rpc_worker().endpoint))
    run("distributed", "on")
    (plain,) = lines(run("--json", stdin="coordinator start demo\n").out)
    (relayed,) = lines(run("--json", stdin="coordinator start demo --relay\n").out)
    assert (plain["coordinator"]["relay"], relayed["coordinator"]["relay"]) == (False, True)
    assert relayed["coordinator"]["placement"] == plain["coordinator"]["placement"]
    assert run("config", "set", "relay", "on").code == 0
    (kept,) = lines(run("--json", stdin="coordinator start demo\n").out)
    assert kept["coordinator"]["traffic"]


def test_one_that_is_up_without_them_is_said_so(run, llama_server: Path, rpc_worker: Callable[..., Worker]) -> None:
    run("rpc", "add", str(rpc_worker().endpoint))
    run("distributed", "on")
    done = run(stdin="coordinator start demo\ncoordinator start demo --relay\ncoordinator restart demo --relay\ncoordinator list --json\n")
    assert "it was up already, without relays; coordinator restart demo --relay puts them in" in done.out + done.err
    assert json.loads(done.out.splitlines()[-1])["coordinators"][0]["relay"] is True


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: no certificates can be made")
def test_a_worker_behind_tls_says_how_it_is_reached(run, ggml_rpc_server: Path, own_home: Path) -> None:
    pem = Certificate.made(own_home, "worker").path
    started = run("worker", "start", "--host", "127.0.0.2", "--relay-tls", str(pem), "--json").json
    try:
        (worker,) = started["workers"]
        assert run("rpc", "list", "--json").json["backends"] == []  # over there it is of use, not here
        hint = run("worker", "list").out
        assert f"{worker['endpoint']}\tllama.cpp behind TLS" in hint
    finally:
        assert run("worker", "stop").code == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--relay-tls", "worker.pem", "--engine", "builtin"), "--relay-tls is for llama.cpp's workers"),
        (("--relay-clients", "ours.pem"), "--relay-clients needs --relay-tls"),
        (("--relay-tls", "absent.pem", "--host", "127.0.0.2"), "absent.pem does not hold a certificate and its key"),
    ],
)
def test_what_cannot_be_is_refused(run, words: tuple[str, ...], expected: str) -> None:
    done = run("worker", "start", *words)
    assert (done.code, expected in done.err) == (2, True)
