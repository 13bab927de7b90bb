"""What a server that has models of its own is: where, of which kind, what it offers, and how it fares."""

from __future__ import annotations

import dataclasses

from synaptic.cluster.backend import Kind, State
from synaptic.cluster.server_load import ServerLoad
from synaptic.endpoint import Endpoint
from synaptic.models.model import Offer
from synaptic.results import Json, to_json
from synaptic.server_url import endpoint_of


@dataclasses.dataclass(frozen=True)
class Node:
    """`url` is `scheme://host:port`, as server_url makes it. A higher `priority` is preferred among equals."""

    url: str
    kind: Kind  # OLLAMA or OPENAI; a guess until the server was asked
    name: str = ""
    priority: int = 0
    key_variable: str | None = None  # the environment variable that holds its API key
    source: str = ""

    @property
    def endpoint(self) -> Endpoint:
        return endpoint_of(self.url)


@dataclasses.dataclass(frozen=True)
class NodeState:
    """
    What is known of a node now. Times in seconds since the epoch, memory in bytes; None: not known.

    health: ready, resting (an answer failed; it is left out for a while), lost (it did answer once), down (it never
    did), unknown (not asked yet). `latency_ms` and `tokens_per_second` are means of what was measured, the newest
    weighing most.
    """

    node: Node
    state: State = State.UNVERIFIED
    health: str = "unknown"
    software: str = ""
    version: str = ""
    latency_ms: float | None = None
    offers: tuple[Offer, ...] = ()
    running: int = 0  # requests of ours
    tokens_per_second: float | None = None
    memory: int | None = None  # in use by loaded models
    has_gpu: bool = False  # a model of its was seen on one
    last_seen: float | None = None
    since: float = 0.0
    detail: str = ""
    load: ServerLoad | None = None  # where it tells

    @property
    def is_ready(self) -> bool:
        """Whether a prompt may go there."""
        return self.state is State.IDLE and self.health == "ready"

    def as_json(self) -> Json:
        """The record of `nodes list --json`."""
        own = {"endpoint": self.node.endpoint, "kind": self.node.kind, "devices": [], "source": self.node.source}
        of_node = {"url": self.node.url, "name": self.node.name, "priority": self.node.priority}
        rest = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in ("node", "offers")}
        return to_json(own | of_node | rest | {"version": self.version or None, "models": self.offers})
