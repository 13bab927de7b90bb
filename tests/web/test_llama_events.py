"""The backend's story in the words that were promised, and nothing that did not happen."""

from __future__ import annotations

from synaptic.endpoint import Endpoint
from synaptic.events import BackendChecked, ChildChanged, ChildSpoke, Event, ModelPlaced, Noticed
from synaptic.web.llama_events import LlamaEvents

ONE, TWO = Endpoint("192.168.1.10", 50052), Endpoint("192.168.1.11", 50052)
NAME = "coordinator llama3.1:405b"


def told(*events: Event, engine: str = "llama.cpp") -> list[tuple[str, str, str]]:
    mapper = LlamaEvents(lambda child: (engine, 8080))
    return [(each.component, each.type, each.message) for event in events for each in mapper.of(event)]


def checked(endpoint: Endpoint, state: str, health: str = "ready", detail: str = "") -> BackendChecked:
    return BackendChecked(endpoint=endpoint, kind="rpc", state=state, health=health, detail=detail)


def changed(before: str, after: str, cause: str = "", child: str = NAME) -> ChildChanged:
    return ChildChanged(child=child, before=before, after=after, cause=cause)


def test_a_model_over_two_workers_is_the_promised_story() -> None:
    placed = ModelPlaced(coordinator=NAME, model="llama3.1:405b", bytes_by_device=((str(ONE), 2**30), (str(TWO), 2**30), ("here", 5)))
    assert told(
        changed("stopped", "starting"), placed, changed("starting", "ready"), changed("ready", "stopping"), changed("stopping", "stopped")
    ) == [
        ("coordinator", "info", "llama.cpp coordinator starting: llama3.1:405b"),
        ("coordinator", "start", "llama.cpp coordinator started (port 8080)"),
        ("coordinator", "model_load", "Model loaded: llama3.1:405b"),
        ("rpc_backend", "connect", "RPC backend connected: 192.168.1.10:50052"),
        ("rpc_backend", "status", "192.168.1.10:50052 holds 1 GiB of llama3.1:405b"),
        ("rpc_backend", "connect", "RPC backend connected: 192.168.1.11:50052"),
        ("rpc_backend", "status", "192.168.1.11:50052 holds 1 GiB of llama3.1:405b"),
        ("coordinator", "status", "Coordinator active (2 RPC backends)"),
        ("coordinator", "stop", "llama.cpp coordinator stopped"),
    ]


def test_dllama_which_tells_its_layers_only_when_it_is_ready_has_workers_of_its_own_kind() -> None:
    placed = ModelPlaced(coordinator=NAME, model="m", bytes_by_device=((str(ONE), 2**30), ("here", 5)))
    assert [message for _, _, message in told(changed("starting", "ready"), placed, engine="dllama")] == [
        "dllama coordinator started (port 8080)",
        "Model loaded: m",
        "dllama worker connected: 192.168.1.10:50052",
        "192.168.1.10:50052 holds 1 GiB of m",
        "Coordinator active (1 dllama worker)",
    ]


def test_a_model_that_was_never_ready_was_never_loaded() -> None:
    placed = ModelPlaced(coordinator=NAME, model="m", bytes_by_device=((str(ONE), 1),))
    assert [message for _, _, message in told(placed, changed("starting", "failed", "out of memory"))] == [
        "llama.cpp coordinator failed: out of memory"
    ]


def test_a_configured_address_is_not_connected_before_it_answered() -> None:
    assert told(checked(ONE, "unreachable", "down"), checked(TWO, "busy", "busy"), checked(TWO, "unverified", "unknown")) == []


def test_a_worker_connects_once_is_lost_once_and_comes_back() -> None:
    story = told(
        checked(ONE, "idle"),
        checked(ONE, "in-use"),
        checked(ONE, "in-use", "lost", "it is away"),
        checked(ONE, "unreachable", "lost"),
        checked(ONE, "idle"),
    )
    assert [message for _, _, message in story] == [
        "RPC backend connected: 192.168.1.10:50052",
        "RPC backend disconnected: 192.168.1.10:50052 (it is away)",
        "RPC backend connected: 192.168.1.10:50052",
    ]


def test_one_that_was_found_running_was_not_started() -> None:
    assert told(changed("stopped", "ready")) == [("coordinator", "start", "llama.cpp coordinator found running (port 8080)")]


def test_lines_of_a_log_keep_their_level_and_lose_their_teeth() -> None:
    mapper = LlamaEvents(lambda child: ("llama.cpp", None))
    (line,) = mapper.of(ChildSpoke(child="worker 127.0.0.1:50052", line="0.00.012.345 W \x1b[31m<b>careful</b>"))
    assert (line.component, line.type, line.level) == ("rpc_backend", "log", "warning")
    assert "\\u001b" not in line.text()
    assert "^[[31m<b>careful</b>" in line.text()


def test_what_concerns_no_backend_is_not_told() -> None:
    assert told(Noticed(text="hello"), BackendChecked(endpoint=ONE, kind="dllama", state="idle")) == []
