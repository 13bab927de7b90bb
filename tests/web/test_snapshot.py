"""What the page is told: by what is known, and without asking anybody."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from synaptic.cluster.backend import Backend, Device, Kind, State
from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.process.placement import Share
from synaptic.session import Session
from synaptic.settings import Settings
from synaptic.web.activity import Activity
from synaptic.web.links import Link, Links
from synaptic.web.machines import HERE, Machine, machines
from synaptic.web.snapshot import Sample, alerts, snapshot
from synaptic.web.splits import Split

ONE = Endpoint("10.0.0.1", 50052)
MACHINE = Machine(str(ONE), "rpc", "idle", "ready")
SPLIT = Split(
    name="coordinator m",
    model="m",
    engine="llama.cpp",
    cut="layers",
    state="ready",
    cause="",
    pid=1,
    port=2,
    owner=1,
    is_ours=True,
    context=512,
    slots=1,
    kv_type="f16",
    layers=4,
    bytes=100,
    answering=0,
    backends=(str(ONE),),
    shares=(Share(str(ONE), 60, 30, 10, 3), Share(HERE, 40)),
    links=(Link(str(ONE), 70.0, 7.0),),
)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    environment = Environment({"SYNAPTICLLAMAS_HOME": str(tmp_path), "PATH": ""}, sys.stdin, sys.stdout, sys.stderr)
    return Session(environment, Settings.load(tmp_path / "settings.json", {}))


def test_each_machine_says_what_of_which_model_it_holds(session: Session) -> None:
    session.pool.learn([Backend(ONE, Kind.RPC, State.IDLE, "7.0.0", (Device("RPC0", 70, 90), Device("RPC1", 5, 10)), 1.5, "scan")])
    here, worker = machines(session, [SPLIT], Machine(HERE, "coordinator", "idle", "ready", total=1000, free=500))
    assert [(held.model, held.layers, held.model_bytes, held.kv_bytes) for held in worker.holds] == [("m", 3, 60, 30)]
    assert (worker.total, worker.free, worker.devices, worker.latency_ms) == (100, 75, ("RPC0", "RPC1"), 1.5)
    assert [held.model_bytes for held in here.holds] == [40]
    assert (worker.sent_per_second, worker.received_per_second, here.sent_per_second) == (70.0, 7.0, None)


def test_what_is_lost_or_failed_is_an_alert_with_a_way_out() -> None:
    lost = dataclasses.replace(MACHINE, state="unreachable", health="lost", detail="it is away")
    node = dataclasses.replace(MACHINE, kind="ollama", health="resting")
    failed = dataclasses.replace(SPLIT, state="failed", cause="out of memory")
    assert [(each.severity, each.message, each.hint) for each in alerts([MACHINE, lost, node], [SPLIT, failed])] == [
        ("error", "rpc 10.0.0.1:50052 is lost: it is away", "rpc check"),
        ("error", "the coordinator of m failed: out of memory", "coordinator logs"),
        ("warning", "ollama 10.0.0.1:50052 is resting", "nodes health"),
    ]


def test_machines_that_fare_alike_share_an_alert() -> None:
    lost = [dataclasses.replace(MACHINE, endpoint=f"10.0.0.{n}:50052", health="lost", detail="no route to host") for n in range(1, 7)]
    node = dataclasses.replace(MACHINE, kind="ollama", endpoint="10.0.0.9:11434", health="down")
    assert [each.message for each in alerts([*lost, node], ())] == [
        "rpc 10.0.0.1:50052, 10.0.0.2:50052, 10.0.0.3:50052 and 3 more are lost: no route to host",
        "ollama 10.0.0.9:11434 is down",
    ]
    assert [each.message for each in alerts(lost[:2], ())] == ["rpc 10.0.0.1:50052 and 10.0.0.2:50052 are lost: no route to host"]


def test_it_opens_no_room_and_is_json(session: Session) -> None:
    points = [Sample(1.0, 2.0, 0, 0), Sample(3.0, 4.0, 1, 0)]
    here = Machine(HERE, "coordinator", "idle", "ready")
    whole = snapshot(session, Activity(), here, Links(), at=5.0, points=points, whole=True)
    later = snapshot(session, Activity(), here, Links(), at=5.0, points=points, whole=False)
    assert json.loads(json.dumps(whole))["history"][1]["tokens_per_second"] == 4.0
    assert isinstance(later, dict)
    assert (later["sample"], "history" in later) == (json.loads(json.dumps(whole))["history"][1], False)
    assert {"pool", "nodes", "coordinators", "dllama"}.isdisjoint(vars(session))
