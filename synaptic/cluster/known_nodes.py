"""Which servers are known: those of the settings, and the Ollama of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from synaptic.cluster.backend import Kind
from synaptic.cluster.node import Node
from synaptic.cluster.nodes import Nodes
from synaptic.errors import UsageError
from synaptic.events import Bus
from synaptic.server_url import OLLAMA_PORT, endpoint_of, server_url
from synaptic.settings.nodes import NodeEntry

VARIABLE = "OLLAMA_HOST"
DEFAULT = f"http://127.0.0.1:{OLLAMA_PORT}"
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # where a server listens is where a client finds it, on this machine


def nodes(entries: Callable[[], Sequence[NodeEntry]], bus: Bus, variables: Mapping[str, str]) -> Nodes:
    return Nodes(lambda: known_nodes(entries(), variables), bus, keys=variables)


def known_nodes(entries: Sequence[NodeEntry], variables: Mapping[str, str]) -> list[Node]:
    configured = [_node(entry) for entry in entries]
    local = local_ollama(variables)
    return configured if any(node.url == local.url for node in configured) else [*configured, local]


def local_ollama(variables: Mapping[str, str]) -> Node:
    """As OLLAMA_HOST says, which its server and its client read; source "environment", else "default"."""
    try:
        if text := variables.get(VARIABLE, "").strip():
            return Node(_reachable(server_url(f"127.0.0.1{text}" if text.startswith(":") else text)), Kind.OLLAMA, source="environment")
    except UsageError:  # Ollama's own affair
        pass
    return Node(DEFAULT, Kind.OLLAMA, source="default")


def kind_by_port(url: str) -> Kind:
    """A guess, until it was asked."""
    return Kind.OLLAMA if endpoint_of(url).port == OLLAMA_PORT else Kind.OPENAI


def _node(entry: NodeEntry) -> Node:
    kind = Kind(entry.kind) if entry.kind else kind_by_port(entry.url)
    return Node(entry.url, kind, entry.name, entry.priority, entry.key_env or None, "configured")


def _reachable(url: str) -> str:
    scheme, _, rest = url.partition("://")
    endpoint = endpoint_of(url)
    return f"{scheme}://{_EVERYWHERE[endpoint.host]}:{endpoint.port}" if endpoint.host in _EVERYWHERE else f"{scheme}://{rest}"
