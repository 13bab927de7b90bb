"""
No test can reach anything but this machine: an audit hook refuses every other address, here and in every Python
child (this folder is on PYTHONPATH). Network namespaces that a test made are allowed to say so in the environment.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys


def is_ours(host: object) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text.endswith((".invalid", ".localhost"))  # RFC 2606: never resolves to anything
    return address.is_loopback or address.is_unspecified or bool(os.environ.get("SYNAPTIC_TEST_NAMESPACE"))


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and not is_ours(address[0]):
            raise PermissionError(f"a test may not talk to {address[0]}")
    elif event == "socket.getaddrinfo" and not is_ours(arguments[0]):
        raise socket.gaierror(f"a test may not look up {arguments[0]!r}")


sys.addaudithook(refuse)
