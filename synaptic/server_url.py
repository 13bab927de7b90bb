"""
The address of an HTTP server, parsed once: `host`, `host:port` or a URL → `http://host:port`.

Refused are addresses that no server of models has: other schemes, other machines' metadata services on the link, and
names and passwords in the address, which would be shown and saved.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.terminal import one_line

OLLAMA_PORT = 11434
_PORTS = {"http": 80, "https": 443}
_EXAMPLE = "write host, host:port or http://host:port"
_METADATA = ipaddress.ip_network("fd00:ec2::/32")


def server_url(text: str, default_port: int = OLLAMA_PORT) -> str:
    """`scheme://host:port`, without a path. Raises UsageError; a password is never in it."""
    text = text.strip()
    split = _split(text if "://" in text else f"http://{text}")
    if "@" in text:
        raise UsageError("an address takes no user name and no password", hint="try: nodes add URL --key-env NAME")
    if split.scheme not in _PORTS:
        raise UsageError(f"not a server: {one_line(split.scheme, 20)}:// is no HTTP", hint=_EXAMPLE)
    if split.query or split.fragment or split.path.rstrip("/") not in ("", "/v1", "/api"):
        raise UsageError(f"only the address of the server, please: {one_line(text, 80)}", hint=_EXAMPLE)
    endpoint = Endpoint.parse(split.netloc, _PORTS[split.scheme] if "://" in text else default_port)
    if is_link_local(endpoint.host):
        raise UsageError(f"{endpoint.host} is an address of the link itself; services with secrets live there", hint=_EXAMPLE)
    return f"{split.scheme}://{Endpoint(endpoint.host.lower(), endpoint.port)}"


def endpoint_of(url: str) -> Endpoint:
    """Of a URL that `server_url` made."""
    return Endpoint.parse(url.partition("://")[2])


def without_path(url: str) -> str:
    """An address of the OpenAI API may end in /v1; other paths of the server stand beside that."""
    return url.rstrip("/").removesuffix("/v1")


def is_link_local(host: str) -> bool:
    """169.254/16, fe80::/10 and their like: never a server of models, sometimes one of secrets. False for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return _is_short_link_local(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_link_local or (address.version == 6 and address in _METADATA)


def _is_short_link_local(host: str) -> bool:
    """Forms that a resolver takes for an IPv4 address too: 169.254.43518, 0xa9fea9fe, 2852039166."""
    import socket

    try:
        return ipaddress.ip_address(socket.inet_aton(host)).is_link_local
    except (OSError, UnicodeError):
        return False


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        raise UsageError("not an address: its brackets do not match", hint=_EXAMPLE) from None
