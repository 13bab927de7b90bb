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
    what = [event.detail] if event.what == "state" else [event.what, event.model, event.detail]
    details = {"node": event.node, "model": event.model, "detail": event.detail}
    is_bad = event.what == "failure" or (event.what == "state" and event.detail.startswith(("lost", "down")))
    text = f"{event.node}: {' · '.join(filter(None, what))}"
    return Message(COMPONENT, event.what, text, WARNING if is_bad else INFO, details, event.at)
