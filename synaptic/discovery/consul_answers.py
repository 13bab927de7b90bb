"""
What Consul is told and what it answers, without a socket. Its words are foreign.

    GET /v1/health/service/NAME → [{"Node": {"Address", …}, "Service": {"Address", "Port", …}, "Checks": […]}, …]
    an empty Service.Address means that of the node
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, UsageError
from synaptic.terminal import one_line

PORT = 8500
MOST_SERVICES = 1000
LONGEST_PAUSE = 60.0  # seconds
_LEAST_PATIENCE = 60.0  # seconds: Consul's own least for DeregisterCriticalServiceAfter
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}\Z")


@dataclasses.dataclass(frozen=True)
class Access:
    """Where the agent listens, without a slash at the end, and what opens it. The token is never shown."""

    url: str
    token: str = dataclasses.field(default="", repr=False)
    authorities: str | None = None  # file of certificates

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Access | None:
        """None: there is no CONSUL_HTTP_ADDR. Raises UsageError when it or the token is none that can be used."""
        if not (address := variables.get("CONSUL_HTTP_ADDR", "").strip()):
            return None
        token = variables.get("CONSUL_HTTP_TOKEN", "").strip()
        if token and not _TOKEN.match(token):
            raise UsageError("CONSUL_HTTP_TOKEN holds characters that no token has")
        return cls(_url(address), token, variables.get("CONSUL_CACERT") or None)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or PORT

    def hide(self, text: str) -> str:
        """Foreign `text` for a sentence, without our token should it hold that."""
        return one_line(text.replace(self.token, "…") if self.token else text, 80)


@dataclasses.dataclass(frozen=True)
class Listing:
    """`nodes`: the machine of each endpoint, by the name Consul has for it: foreign, on one line, empty where it is not known.

    `left_out`: how many entries named no address and port, or were too many.
    """

    endpoints: tuple[Endpoint, ...]
    left_out: int = 0
    nodes: tuple[str, ...] = ()


def parse(body: bytes) -> Listing:
    """The healthy instances of a service, each once. Raises BackendError for what is no list."""
    try:
        entries = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BackendError("did not answer in JSON") from error
    if not isinstance(entries, list):
        raise BackendError("did not answer with a list of services")
    named = [(endpoint, _node(entry)) for entry in entries[:MOST_SERVICES] if (endpoint := _endpoint(entry))]
    nodes = dict(reversed(named))
    endpoints = tuple(dict.fromkeys(endpoint for endpoint, _ in named))
    return Listing(endpoints, len(entries) - len(named), tuple(nodes[endpoint] for endpoint in endpoints))


def next_index(header: str | None, last: int) -> int:
    """What to wait beyond in the next query; 0, which waits for nothing, when it went backwards or is no number."""
    if not header or not header.isascii() or not header.isdigit() or len(header) > 20:
        return 0
    index = int(header)
    return index if index >= last else 0


def pause(failures: int, chance: float) -> float:
    """Seconds before the next try; `chance` from 0 to 1 spreads those who failed together."""
    return float(min(2.0 ** min(failures - 1, 10), LONGEST_PAUSE) * (0.5 + chance / 2))


@dataclasses.dataclass(frozen=True)
class Service:
    """One that keeps itself alive by passing its check at least every `ttl` seconds."""

    name: str
    endpoint: Endpoint
    ttl: float = 30.0
    meta: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        return f"{self.name}-{self.endpoint.host}-{self.endpoint.port}"

    @property
    def check_id(self) -> str:
        return f"service:{self.id}"

    def document(self) -> dict[str, object]:
        """The body of /v1/agent/service/register. No TCP check: a bare connection ends a dllama worker."""
        patience = max(_LEAST_PATIENCE, 10 * self.ttl)
        check = {
            "CheckID": self.check_id,
            "TTL": f"{self.ttl:g}s",
            "Status": "passing",  # else it is critical until it is passed, also when only Meta is told anew
            "DeregisterCriticalServiceAfter": f"{patience:g}s",
        }
        return {
            "ID": self.id,
            "Name": self.name,
            "Meta": dict(self.meta),
            "Address": self.endpoint.host,
            "Port": self.endpoint.port,
            "Check": check,
        }


def _endpoint(entry: object) -> Endpoint | None:
    service = _inside(entry, "Service")
    host, port = _inside(service, "Address") or _inside(_inside(entry, "Node"), "Address"), _inside(service, "Port")
    if not isinstance(host, str) or not isinstance(port, int) or isinstance(port, bool):
        return None
    try:
        return Endpoint.parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except UsageError:
        return None


def _node(entry: object) -> str:
    """Not of a service that is elsewhere: one agent may list those of many machines."""
    node = _inside(entry, "Node")
    name, address = _inside(node, "Node"), _inside(_inside(entry, "Service"), "Address")
    is_there = not address or address == _inside(node, "Address")
    return one_line(name, 63) if isinstance(name, str) and is_there else ""


def _inside(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, Mapping) else None


def _url(address: str) -> str:
    """A bare host has Consul's port, an address with a scheme that scheme's."""
    scheme, _, rest = address.partition("://") if "://" in address else ("http", "", address)
    if scheme == "unix":
        raise UsageError("CONSUL_HTTP_ADDR names a unix socket, which is not spoken here", hint="write host:port, such as 127.0.0.1:8500")
    if scheme not in ("http", "https") or "@" in rest:  # what stands before an @ may be a secret: not repeated
        raise UsageError("CONSUL_HTTP_ADDR is no address of an agent", hint="write host:port, such as 127.0.0.1:8500")
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        default = PORT if "://" not in address else 443 if scheme == "https" else 80
        endpoint = Endpoint.parse(parts.netloc, default)
    except (ValueError, UsageError) as error:
        raise UsageError(f"CONSUL_HTTP_ADDR: {one_line(str(error), 80)}", hint="write host:port, such as 127.0.0.1:8500") from error
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError("CONSUL_HTTP_ADDR holds more than an address", hint="write host:port, such as 127.0.0.1:8500")
    return f"{scheme}://{endpoint}"
