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


def stays_here(sock: object, host: str) -> bool:
    """Whether this is multicast DNS that leaves through the loopback interface, and so does not leave at all."""
    if not isinstance(sock, socket.socket):
        return False
    if host == "224.0.0.251":
        chosen = sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4)
        return ipaddress.IPv4Address(chosen).is_loopback
    if host.partition("%")[0] == "ff02::fb":
        index = sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF)
        return bool(index) and socket.if_indextoname(index) == "lo"
    return False


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and not is_ours(address[0]) and not stays_here(arguments[0], str(address[0])):
            raise PermissionError(f"a test may not talk to {address[0]}")
    elif event == "socket.getaddrinfo" and not is_ours(arguments[0]):
        raise socket.gaierror(f"a test may not look up {arguments[0]!r}")


sys.addaudithook(refuse)
