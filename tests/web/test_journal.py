"""What happened, in the words of the log and of the nodes' feed, and how loud they are."""

from __future__ import annotations

import json

import pytest

from synaptic.endpoint import Endpoint
from synaptic.events import BackendChecked, ChildChanged, Event, GenerationFinished, NodeActivity, Noticed
from synaptic.web import node_events
from synaptic.web.journal import is_bad, told

WORKER, NODE = Endpoint("10.0.0.1", 50052), "http://10.0.0.2:11434"
LOST = BackendChecked(endpoint=WORKER, kind="rpc", state="unreachable", detail="refused the connection", health="lost")
IN_USE = BackendChecked(endpoint=WORKER, kind="rpc", state="in-use", detail="in use by coordinator demo", health="ready")


def test_who_uses_a_worker_is_said_once() -> None:
    assert told(IN_USE) == "rpc 10.0.0.1:50052 is in use by coordinator demo"
    assert told(LOST) == "rpc 10.0.0.1:50052 is unreachable (refused the connection)"


@pytest.mark.parametrize(
    ("event", "bad"),
    [
        (LOST, True),
        (IN_USE, False),
        (ChildChanged(child="coordinator demo", before="ready", after="failed", cause="a worker was lost"), True),
        (ChildChanged(child="coordinator demo", before="starting", after="ready"), False),
        (GenerationFinished(model="m", complete=False, tokens=9, tokens_per_second=None, ttft_ms=None), True),
        (GenerationFinished(model="m", complete=True, tokens=9, tokens_per_second=None, ttft_ms=None), False),
        (Noticed(text="a worker came back"), False),
    ],
)
def test_trouble_is_found_by_its_level(event: Event, bad: bool) -> None:
    assert is_bad(event) is bad


@pytest.mark.parametrize(
    ("what", "detail", "text", "level"),
    [
        ("state", "ready", f"{NODE}: ready", "info"),
        ("state", "down: no server listens there", f"{NODE}: down: no server listens there", "warning"),
        ("answer", "26 tokens", f"{NODE}: answer · m · 26 tokens", "info"),
        ("failure", "it broke off", f"{NODE}: failure · m · it broke off", "warning"),
    ],
)
def test_a_node_says_its_state_and_what_it_did(what: str, detail: str, text: str, level: str) -> None:
    message = node_events.of(NodeActivity(node=NODE, what=what, model="" if what == "state" else "m", detail=detail))
    assert message
    said = json.loads(message.text())
    assert (said["message"], said["type"], said["level"]) == (text, what, level)
