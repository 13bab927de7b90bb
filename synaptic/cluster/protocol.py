"""
The first messages of the llama.cpp RPC protocol, bytes to values and back; no sockets here.

    request   command u8 | length u64 | payload
    reply                  length u64 | payload                       everything little-endian

    HELLO              0e | 24 zero bytes: "TCP only"  → major minor patch 00 | 24 bytes
      older servers         nothing                    → major minor patch
    DEVICE_COUNT       0f | nothing                    → u32                      since 3.0
    GET_DEVICE_MEMORY  0b | device u32                 → free u64 | total u64
      before 3.0            nothing                    → free u64 | total u64

A reply is untrusted: one fixed length per question, and numbers no machine can have are refused.
"""

from __future__ import annotations

import dataclasses
import re
import struct

from synaptic.cluster.backend import Device
from synaptic.errors import BackendError
from synaptic.terminal import one_line

MOST_DEVICES = 64
_MOST_MEMORY = 1 << 50
_PLAUSIBLE_LENGTH = 1 << 16
_HTTP_BEGINS = (b"HTTP/", b"<!DOC", b"<HTML", b"<html")  # the last three: errors told in the manner of HTTP/0.9
_HTTP_SERVER = re.compile(rb"^server:[ \t]*([^\r\n]+)", re.IGNORECASE | re.MULTILINE)


class ProtocolError(BackendError):
    """The peer does not talk like an rpc-server. `reason` is the word of `rpc discover --json`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Question:
    request: bytes
    reply_length: int


def _question(command: int, payload: bytes, reply_length: int) -> Question:
    return Question(struct.pack("<BQ", command, len(payload)) + payload, reply_length)


HELLO = _question(0x0E, bytes(24), 28)
OLD_HELLO = _question(0x0E, b"", 3)
DEVICE_COUNT = _question(0x0F, b"", 4)
MEMORY_OF_ONLY_DEVICE = _question(0x0B, b"", 16)
LINE_END = b"\r\n\r\n"


def memory_of(device: int) -> Question:
    return _question(0x0B, struct.pack("<I", device), 16)


@dataclasses.dataclass(frozen=True, order=True)
class Version:
    major: int
    minor: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version:
        """`7.0.0`. Raises ValueError."""
        major, minor, patch = (int(part) for part in text.split("."))
        return cls(major, minor, patch)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    def accepts(self, server: Version) -> bool:
        """The rule of llama.cpp's client; the patch level does not count."""
        return self.major == server.major and server.minor <= self.minor


def payload_of(received: bytes, length: int) -> bytes | None:
    """The payload once the reply is whole, None while it can still become one. Raises ProtocolError when it cannot."""
    if length.to_bytes(8, "little").startswith(received[:8]):
        missing = 8 + length - len(received)
        if missing < 0:
            raise ProtocolError("garbage", f"sent more than the {length} bytes of an rpc-server's answer")
        return None if missing else received[8:]
    if any(begin != received and begin.startswith(received) for begin in _HTTP_BEGINS):
        return None
    raise _foreign(received, length)


def parse_hello(payload: bytes) -> Version:
    return Version(*payload[:3])


def parse_device_count(payload: bytes) -> int:
    count = int.from_bytes(payload, "little")
    if not 0 < count <= MOST_DEVICES:
        raise ProtocolError("implausible", f"claims {count} devices")
    return count


def parse_memory(payload: bytes, device: int) -> Device:
    free, total = struct.unpack("<QQ", payload)
    if not 0 < total < _MOST_MEMORY or free > total:
        raise ProtocolError("implausible", f"claims {free} of {total} bytes free on device {device}")
    return Device(f"RPC{device}", free, total)


def _foreign(received: bytes, length: int) -> ProtocolError:
    if received.startswith(_HTTP_BEGINS):
        named = _HTTP_SERVER.search(received)
        return ProtocolError("http", "HTTP server" + (f" ({_said(named[1])})" if named else ""))
    announced = int.from_bytes(received[:8], "little")
    if len(received) >= 8 and announced < _PLAUSIBLE_LENGTH:
        return ProtocolError("garbage", f"answered {announced} bytes where an rpc-server answers {length}")
    return ProtocolError("garbage", f"answered something else: {_said(received)}")


def _said(foreign: bytes) -> str:
    return one_line(foreign[:240].decode("utf-8", "replace"), 60)
