"""
One connection through the relay: bytes pass between the near end, who asks, and the far end, who answers.

A thread of its own per connection, which waits for both ends at once. The protocol that passes is question and answer,
so a send that must wait holds nothing up. The far end is always left with a RST: an rpc-server dies of SIGPIPE when
it answers someone who has left with a FIN. Nothing of this runs in a session: its loop would add its own pauses to
every token.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import sys
import time
from typing import Protocol

BUFFER = 256 * 1024
LEAVE_BY_RESET = struct.pack("ii", 1, 0)
_RTT = 68  # where struct tcp_info of Linux has the smoothed round trip, in microseconds
_INFO = 104  # bytes of it that every kernel has
_ASK_EVERY = 64  # round trips


class FarEndError(Exception):
    """The far end was lost, and how: completes "worker A …"."""


class DistrustError(OSError):
    """It shows another certificate than the one that is known."""


class Meter(Protocol):
    """Hears what has passed, in bytes (`up`: towards the far end) and seconds."""

    def passed(self, up: int, down: int) -> None: ...

    def turned(self, waited: float, round_trip: float | None) -> None: ...


class Plain:
    has_more = False

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(None)
        self.socket = sock
        self.take = sock.recv_into
        self.give = sock.sendall


class Secure:
    """Over TLS. Its socket does not block: a record may come that holds nothing for us, such as a ticket."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        sock.setblocking(False)
        self.socket = sock

    def take(self, into: memoryview) -> int | None:
        """How many bytes came; 0: it has ended; None: nothing after all."""
        try:
            return self.socket.recv_into(into)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def give(self, data: memoryview) -> None:
        while data:
            try:
                data = data[self.socket.send(data) :]
            except ssl.SSLWantWriteError:
                select.select((), (self.socket,), ())
            except ssl.SSLWantReadError:
                select.select((self.socket,), (), ())

    @property
    def has_more(self) -> bool:
        """Whether something was decrypted already, so that the kernel would not tell of it."""
        return self.socket.pending() > 0


Stream = Plain | Secure


class _OverError(Exception):
    def __init__(self, side: Stream, how: str) -> None:
        super().__init__(how)
        self.side = side


def pump(near: Stream, far: Stream, meter: Meter) -> None:
    """Until the near end leaves. Raises FarEndError when the far one does first."""
    try:
        _pump(near, far, meter)
    except _OverError as over:
        if over.side is far:
            raise FarEndError(str(over)) from over


def _pump(near: Stream, far: Stream, meter: Meter) -> None:
    poll, clock, whole = select.poll(), time.perf_counter, memoryview(bytearray(BUFFER))
    for each in (near, far):
        poll.register(each.socket, select.POLLIN)
    near_descriptor, turns, asked_at = near.socket.fileno(), 0, 0.0
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == near_descriptor:
                meter.passed(_pass(near, far, whole), 0)
                asked_at = clock()
            elif (count := _pass(far, near, whole)) and asked_at:
                meter.passed(0, count)
                meter.turned(clock() - asked_at, None if turns % _ASK_EVERY else round_trip(far.socket))
                turns, asked_at = turns + 1, 0.0
            else:
                meter.passed(0, count)


def _pass(source: Stream, sink: Stream, whole: memoryview) -> int:
    """How many bytes."""
    total = 0
    while True:
        try:
            count = source.take(whole)
        except OSError as error:
            raise _OverError(source, how(error)) from error
        if count == 0:
            raise _OverError(source, "closed its connection")
        if count is None:
            return total
        try:
            sink.give(whole[:count])
        except OSError as error:
            raise _OverError(sink, how(error)) from error
        total += count
        if not source.has_more:
            return total


def how(error: OSError) -> str:
    """A connection's end, in words."""
    if isinstance(error, DistrustError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"broke off its TLS ({(error.reason or 'no reason given').lower().replace('_', ' ')})"
    if isinstance(error, TimeoutError):
        return "gave no sign of life: is its cable pulled?"
    if isinstance(error, ConnectionRefusedError):
        return "does not answer: it refused the connection"
    if isinstance(error, ConnectionResetError):
        return "closed its connection"
    return f"is lost: {(error.strerror or str(error)).lower()}"


def attentive(sock: socket.socket, notice: float) -> None:
    """Let the kernel close it when the other side gave no sign of life for `notice` seconds."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    often = max(1, int(notice / 4))
    idle = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
    for name, value in ((idle, often), ("TCP_KEEPINTVL", often), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", int(notice * 1000))):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def round_trip(sock: socket.socket) -> float | None:
    """Of the network to its other side, in seconds, as the kernel sees it; None where that is not told."""
    if sys.platform != "linux":
        return None
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO)
    return float(struct.unpack_from("I", info, _RTT)[0]) / 1e6
