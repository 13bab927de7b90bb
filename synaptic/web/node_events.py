"""What happens at Ollama nodes and other servers with models of their own, as messages."""

from __future__ import annotations

from synaptic.events import Event, NodeActivity
from synaptic.web.message import INFO, WARNING, Message

COMPONENT = "ollama_node"
GREETING = "Connected to node activity"


def of(event: Event) -> Message | None:
    """None: nothing happened at a node."""
    if not isinstance(event, NodeActivity):
        return None
    parts = [f"{event.node}: {event.what}", event.model, event.detail]
    details = {"node": event.node, "model": event.model, "detail": event.detail}
    level = WARNING if event.what == "failure" else INFO
    return Message(COMPONENT, event.what, " · ".join(part for part in parts if part), level, details, event.at)
