"""
The whole state in one document: what `/api/dashboard` answers, and `/ws/dashboard` sends whenever it changed.

Nothing in it is secret: no key, no token, no variable of the environment.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from synaptic import __version__
from synaptic.results import Json, to_json
from synaptic.web.machines import HERE, Machine, machines
from synaptic.web.splits import Split, splits

if TYPE_CHECKING:
    from synaptic.cluster.node import NodeState
    from synaptic.session import Session
    from synaptic.web.activity import Activity
    from synaptic.web.links import Links

NO_MODEL = "demo"  # what answers when no model was chosen
MOST_NAMED = 4  # machines in one alert
_GOOD = ("ready", "unknown", "busy")
_SERVERS = ("ollama", "openai")


@dataclasses.dataclass(frozen=True)
class Sample:
    """One point of the charts: what was measured since the one before it."""

    at: float
    tokens_per_second: float
    answering: int
    ready: int
    cpu_percent: float | None = None
    used: int | None = None  # bytes of this machine's memory
    held: int = 0  # bytes that models hold, on all machines
    sent_per_second: float | None = None  # bytes to all workers, and from them; None: not measured, or nobody looked
    received_per_second: float | None = None


@dataclasses.dataclass(frozen=True)
class Alert:
    """Something a person should see to. `hint` is a command."""

    severity: str  # warning or error
    message: str
    hint: str


def snapshot(
    session: Session, activity: Activity, here: Machine, links: Links, *, at: float, points: Sequence[Sample], whole: bool
) -> Json:
    """`whole`: with all points of the charts, for one who has none yet; else with the newest."""
    now = session.settings.now
    split = splits(session, links)
    known = machines(session, split, here)
    document: dict[str, object] = {
        "at": round(at, 3),
        "version": __version__,
        "distributed": now.distributed_inference_enabled,
        "mode": now.mode or "standard",
        "model": now.model or NO_MODEL,
        "summary": _summary(known, split, activity),
        "machines": known,
        "coordinators": split,
        "links_are_measured": links.is_told,
        "nodes": [_node(state) for state in (session.nodes.states() if session.is_open("nodes") else [])],
        "answers": {"running": list(activity.running.values()), "recent": list(reversed(activity.recent))},
        "works": list(activity.works.values()),
        "alerts": alerts(known, split),
        "gateway": {"url": face.url if (face := session.faces.get("gateway")) else None},
    }
    return to_json(document | ({"history": list(points)} if whole else {"sample": points[-1] if points else None}))


def alerts(known: Iterable[Machine], split: Iterable[Split]) -> list[Alert]:
    """Errors first: the page has room for a few."""
    return sorted(_alerts(known, split), key=lambda each: each.severity != "error")


def _alerts(known: Iterable[Machine], split: Iterable[Split]) -> Iterator[Alert]:
    """Machines that fare alike share one: a switch that dies must not bury the page."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for machine in known:
        if machine.health not in _GOOD:
            alike.setdefault((machine.kind, machine.health, machine.detail), []).append(machine.endpoint)
    for (kind, health, detail), endpoints in alike.items():
        look = {"rpc": "rpc check", "dllama": "dllama check"}.get(kind, "nodes health")
        severity = "error" if health == "lost" else "warning"
        cause = f": {detail}" if detail else ""
        yield Alert(severity, f"{kind} {_named(endpoints)} {'is' if len(endpoints) == 1 else 'are'} {health}{cause}", look)
    for each in split:
        if each.state == "failed":
            yield Alert("error", f"the coordinator of {each.model} failed: {each.cause or 'no cause is known'}", "coordinator logs")


def _named(endpoints: Sequence[str]) -> str:
    shown = endpoints if len(endpoints) <= MOST_NAMED else endpoints[: MOST_NAMED - 1]
    names = [*shown, *([f"{len(endpoints) - len(shown)} more"] if len(endpoints) > len(shown) else [])]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _summary(known: Sequence[Machine], split: Sequence[Split], activity: Activity) -> dict[str, object]:
    workers = [machine for machine in known if machine.endpoint != HERE and machine.kind not in _SERVERS]
    servers = [machine for machine in known if machine.kind in _SERVERS]
    return {
        "workers": _count(workers),
        "servers": _count(servers),
        "coordinators": {"known": len(split), "ready": sum(each.state == "ready" for each in split)},
        "answering": len(activity.running),
        "tokens_per_second": activity.tokens_per_second,
    }


def _count(known: Sequence[Machine]) -> dict[str, int]:
    return {
        "known": len(known),
        "ready": sum(each.health == "ready" for each in known),
        "lost": sum(each.health == "lost" for each in known),
    }


def _node(state: NodeState) -> Json:
    """The record of `nodes list --json`, with the models' names only, and its load in words."""
    record = to_json(state)
    assert isinstance(record, dict)
    models = record.get("models")
    keep = ("name", "bytes", "quantization", "is_loaded")
    listed = [{key: each.get(key) for key in keep} for each in models if isinstance(each, dict)] if isinstance(models, list) else []
    busy = f"{state.load.running} running, {state.load.waiting} waiting" if state.load else ""
    words = " · ".join(filter(None, (busy, state.load.summary if state.load else "")))
    return record | {"models": list(listed), "load_in_words": words}
