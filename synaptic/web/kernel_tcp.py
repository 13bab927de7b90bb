"""
What the kernel has counted on this machine's TCP connections: asked of it over netlink, as `ss -ti` does. No root, and no
connection is touched. Linux only.

    inet_diag_req_v2   u8 family · u8 protocol · u8 extensions · pad · u32 states · 48 bytes of zeros: any connection
    inet_diag_msg      4 bytes · be16 port here · be16 port there · 16 bytes address here · 16 there · … · at 68: u32 inode
    its attributes     u16 length · u16 type · value; in tcp_info at 120: u64 bytes that the other side has, u64 received
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 0.5  # seconds: the kernel answers at once
MOST = 8 << 20  # bytes of an answer: some 20,000 connections
_SOCK_DIAG, _BY_FAMILY, _DUMP = 4, 20, 0x301  # NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP
_LAST = (2, 3)  # NLMSG_ERROR, NLMSG_DONE
_INFO, _ESTABLISHED = 2, 1  # INET_DIAG_INFO, TCP_ESTABLISHED
_HEADER, _REQUEST, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBBxI48x"), struct.Struct("=HH")
_BODY, _INODE, _COUNTS, _COUNTS_AT = 72, 68, struct.Struct("=QQ"), 120


@dataclasses.dataclass(frozen=True)
class Connection:
    """As its owner sees it: the address of the other side, and bytes since it was opened."""

    host: str
    port: int
    sent: int
    received: int


def connections() -> dict[int, Connection] | None:
    """Those that are open, by the inode of their socket; None where the kernel does not tell."""
    if not hasattr(socket, "AF_NETLINK"):
        return None
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.settimeout(PATIENCE)
            return {inode: each for family in (socket.AF_INET, socket.AF_INET6) for inode, each in _dumped(kernel, family)}
    except OSError:
        return None


def inodes(pid: int) -> set[int]:
    """Of the sockets of a process of this user; none where that cannot be seen."""
    found = set()
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                name = str(link.readlink())
                if name.startswith("socket:["):
                    found.add(int(name[8:-1]))
    return found


def _dumped(kernel: socket.socket, family: int) -> Iterator[tuple[int, Connection]]:
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (_INFO - 1), 1 << _ESTABLISHED)
    kernel.send(_HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _DUMP, 0, 0) + request)
    read = 0
    while read < MOST:
        answer = kernel.recv(1 << 16)
        read += len(answer)
        for kind, body in _messages(answer):
            if kind in _LAST:
                return
            if found := _connection(family, body):
                yield found


def _messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(answer):
        length, kind, *_ = _HEADER.unpack_from(answer, at)
        if length < _HEADER.size:
            return
        yield kind, answer[at + _HEADER.size : at + length]
        at += _padded(length)


def _connection(family: int, body: bytes) -> tuple[int, Connection] | None:
    """None: the kernel is too old to count."""
    at = _BODY
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if kind == _INFO and length >= _ATTRIBUTE.size + _COUNTS_AT + _COUNTS.size:
            sent, received = _COUNTS.unpack_from(body, at + _ATTRIBUTE.size + _COUNTS_AT)
            (port,) = struct.unpack_from("!H", body, 6)
            (inode,) = struct.unpack_from("=I", body, _INODE)
            return inode, Connection(_host(body[24 : 28 if family == socket.AF_INET else 40]), port, sent, received)
        at += _padded(max(length, _ATTRIBUTE.size))
    return None


def _host(raw: bytes) -> str:
    address = ipaddress.ip_address(raw)
    return str((address.ipv4_mapped if address.version == 6 else None) or address)


def _padded(length: int) -> int:
    return (length + 3) & ~3
