"""`host:port`, parsed once."""

from __future__ import annotations

import dataclasses
import ipaddress
import re

from synaptic.errors import UsageError
from synaptic.terminal import one_line

RPC_PORT = 50052
DLLAMA_PORT = 9999  # the one that distributed-llama's documents use; its programs' own default is 9990
_NAME = re.compile(r"(?!-)[A-Za-z0-9_.-]{1,253}\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")


@dataclasses.dataclass(frozen=True, order=True)
class Endpoint:
    """Where a server listens. `host` is a name or an IP literal without brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int = RPC_PORT) -> Endpoint:
        """`host`, `host:port`, `[v6]:port` or a bare IPv6 literal. Raises UsageError with the reason."""
        text = text.strip()
        host, port = _split(text)
        if not _is_host(host):
            raise UsageError(f"not an address: {one_line(text, 60) or '(empty)'}", hint=_right(text))
        if port is None:
            return cls(host, default_port)
        if not _PORT.match(port) or not 0 < int(port) < 65536:
            raise UsageError(
                f"not a port: {one_line(port, 60) or '(empty)'} in {one_line(text, 60)}", hint="a port is a number from 1 to 65535"
            )
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    @property
    def is_loopback(self) -> bool:
        """Certainly this machine; any other host may be too, and a name that begins with 127. may be anyone's."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_list(text: str, default_port: int = RPC_PORT) -> tuple[list[Endpoint], list[str]]:
    """Comma-separated endpoints → (the good ones once each in order, a sentence per bad one)."""
    good: dict[Endpoint, None] = {}
    bad: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            good[Endpoint.parse(part, default_port)] = None
        except UsageError as error:
            bad.append(str(error))
    return list(good), bad


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            return "", None
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _right(text: str) -> str:
    """How to write it. A worker's address is no URL: it speaks no HTTP."""
    where = re.match(r"[a-z]+://([A-Za-z0-9_.-]+:[0-9]+)(/|\Z)", text)
    return f"write host:port, such as {where[1] if where else '192.168.1.10:50052'}"


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host.partition("%")[0])
        except ValueError:
            return False
        return "%" not in host or bool(_NAME.match(host.partition("%")[2]))
    return bool(_NAME.match(host))
