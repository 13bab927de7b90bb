"""
What happens at coordinators and rpc-servers, in the words that the project's documents promise:

    [system]       Connected to llama.cpp monitoring
    [coordinator]  llama.cpp coordinator started (port 18080)
    [coordinator]  Model loaded: llama3.1:405b
    [rpc_backend]  RPC backend connected: 192.168.1.10:50052
    [coordinator]  Coordinator active (2 RPC backends)

"Connected" means that a handshake succeeded, or that the log of a coordinator proves that it holds a part of a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from synaptic.events import BackendChecked, ChildChanged, ChildSpoke, Event, ModelPlaced
from synaptic.models.model import DLLAMA
from synaptic.results import gib, plural
from synaptic.web.message import DEBUG, ERROR, INFO, WARNING, Message

GREETING = "Connected to llama.cpp monitoring"
SYSTEM, COORDINATOR, BACKEND = "system", "coordinator", "rpc_backend"
HERE = "here"  # what a coordinator holds on its own machine
RPC, DLLAMA_WORKER = "RPC backend", "dllama worker"
_CONNECTED = ("idle", "in-use")
_LEVELS = {"E": ERROR, "W": WARNING, "D": DEBUG}
_LEVEL = re.compile(r"^(?:[\d.]+ )?([EWD]) ")


class LlamaEvents:
    """Event by event → messages. `about(child)`: which engine a coordinator is of, and its port while it is up."""

    def __init__(self, about: Callable[[str], tuple[str, int | None]]) -> None:
        self._about = about
        self._placed: dict[str, ModelPlaced] = {}  # said when the coordinator is ready
        self._ready: set[str] = set()
        self._connected: set[str] = set()

    def of(self, event: Event) -> Iterator[Message]:
        match event:
            case ChildSpoke() if component := _component(event.child):
                level = match[1] if (match := _LEVEL.match(event.line)) else ""
                yield Message(component, "log", event.line, _LEVELS.get(level, INFO), {"source": event.child}, event.at)
            case ModelPlaced() if event.coordinator in self._ready:
                yield from self._of_placed(event)
            case ModelPlaced():
                self._placed[event.coordinator] = event
            case ChildChanged() if _component(event.child) == COORDINATOR:
                yield from self._of_coordinator(event)
            case ChildChanged() if _component(event.child) == BACKEND:
                yield from self._of_worker(event)
            case BackendChecked(kind="rpc"):
                yield from self._of_backend(event)

    def _of_coordinator(self, event: ChildChanged) -> Iterator[Message]:
        model = event.child.partition(" ")[2]
        engine, port = self._about(event.child)
        (self._ready.add if event.after == "ready" else self._ready.discard)(event.child)
        match event.after:
            case "starting":
                yield _coordinator("info", f"{engine} coordinator starting: {model}", event)
            case "ready":
                what = "found running" if event.before == "stopped" else "started"
                yield _coordinator("start", f"{engine} coordinator {what}{f' (port {port})' if port else ''}", event)
                if placed := self._placed.pop(event.child, None):
                    yield from self._of_placed(placed)
            case "stopped":
                yield _coordinator("stop", f"{engine} coordinator stopped", event)
            case "failed":
                yield _coordinator("error", f"{engine} coordinator failed: {event.cause or 'no cause is known'}", event, ERROR)

    def _of_placed(self, event: ModelPlaced) -> Iterator[Message]:
        sizes, noun = dict(event.bytes_by_device), noun_of(self._about(event.coordinator)[0])
        yield Message(COORDINATOR, "model_load", f"Model loaded: {event.model}", details={"bytes": dict(sizes)}, timestamp=event.at)
        for endpoint in (name for name in sizes if name != HERE):
            yield from self._now_connected(endpoint, event.at, noun)
            text = f"{endpoint} holds {gib(sizes[endpoint])} of {event.model}"
            yield Message(BACKEND, "status", text, details={"endpoint": endpoint, "bytes": sizes[endpoint]}, timestamp=event.at)
        yield active(event.model, len(sizes.keys() - {HERE}), event.at, noun)

    def _of_worker(self, event: ChildChanged) -> Iterator[Message]:
        endpoint, details = event.child.split(" ", 1)[1], _details(event)
        if event.after == "ready":
            yield Message(BACKEND, "start", f"RPC backend started here: {endpoint}", details=details, timestamp=event.at)
        elif event.after == "stopped":
            yield Message(BACKEND, "stop", f"RPC backend stopped: {endpoint}", details=details, timestamp=event.at)
        elif event.after == "failed":
            yield Message(BACKEND, "error", f"RPC backend failed: {endpoint}: {event.cause}", ERROR, details, event.at)

    def _of_backend(self, event: BackendChecked) -> Iterator[Message]:
        endpoint = str(event.endpoint)
        if event.state in _CONNECTED and event.health != "lost":
            yield from self._now_connected(endpoint, event.at)
        elif endpoint in self._connected and event.state != "unverified":
            self._connected.discard(endpoint)
            cause = f" ({event.detail})" if event.detail else ""
            details: dict[str, str] = {"endpoint": endpoint, "state": event.state}
            yield Message(BACKEND, "disconnect", f"RPC backend disconnected: {endpoint}{cause}", WARNING, {**details}, event.at)

    def _now_connected(self, endpoint: str, at: float, noun: str = RPC) -> Iterator[Message]:
        if endpoint not in self._connected:
            self._connected.add(endpoint)
            yield Message(BACKEND, "connect", f"{noun} connected: {endpoint}", details={"endpoint": endpoint}, timestamp=at)


def noun_of(engine: str) -> str:
    return DLLAMA_WORKER if engine == DLLAMA else RPC


def active(model: str, backends: int, at: float, noun: str = RPC) -> Message:
    text = f"Coordinator active ({plural(backends, noun)})"
    return Message(COORDINATOR, "status", text, details={"model": model, "backends": backends}, timestamp=at)


def _component(child: str) -> str | None:
    return {"coordinator": COORDINATOR, "worker": BACKEND}.get(child.split(" ", 1)[0])


def _coordinator(type_: str, text: str, event: ChildChanged, level: str = INFO) -> Message:
    return Message(COORDINATOR, type_, text, level, _details(event), event.at)


def _details(event: ChildChanged) -> dict[str, str]:
    return {"child": event.child, "before": event.before, "after": event.after}
