"""
A connection of a session: blocking calls that all end, for the peer is untrusted and the protocol knows no time-outs.

Not thread-safe, but for `cut`.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time
from collections.abc import Sequence
from typing import TypeVar

from synaptic.dllama.wire import Reading, read

T = TypeVar("T")
AT_ONCE = 65536
# seconds, but the last; macOS has another name for the first
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6, "TCP_USER_TIMEOUT": 90_000}
_ALONE = 2.0  # seconds for what is on its way when the leader has left
_QUICK = {"TCP_NODELAY": 1, "TCP_QUICKACK": 1}


class LostError(ConnectionError):
    """A peer is gone, or silent for too long. A sentence with its name."""


class SilentError(LostError):
    """It is silent for too long."""


class Link:
    """Takes over the socket. `received`: what was read from it before."""

    def __init__(self, sock: socket.socket, name: str, received: bytes = b"") -> None:
        self.name = name
        self._socket = sock
        self._received = bytearray(received)
        self._waiting = select.poll()
        self._leader: Link | None = None
        self._alone_until = math.inf
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (_KEEPALIVE | _QUICK).items():
            if hasattr(socket, option):  # which of them there are, depends on the system
                with contextlib.suppress(OSError):  # the peer is gone: the next read says so
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._waiting.register(sock, select.POLLIN)

    def follow(self, leader: Link) -> None:
        """Wait for a moment only, once that one has left. Linux; elsewhere it makes no difference."""
        if hasattr(select, "POLLRDHUP"):
            self._leader = leader
            self._waiting.register(leader, select.POLLRDHUP)

    @property
    def has_left(self) -> bool:
        """Whether the peer says no more, whatever is still to be read. Linux; elsewhere a read tells."""
        asking = select.poll()
        asking.register(self, getattr(select, "POLLRDHUP", 0))
        return bool(asking.poll(0))

    def fileno(self) -> int:
        return self._socket.fileno()

    def await_word(self, within: float) -> None:
        """Until there is something to read, or the end."""
        if not self._received:
            self._wait_readable(time.monotonic() + within, within)

    def read(self, reading: Reading[T], within: float) -> T:
        """A whole message within so many seconds. LostError, WireError."""
        deadline = time.monotonic() + within
        return read(reading, lambda count: self._take(count, deadline, within))

    def read_into(self, view: memoryview, patience: float) -> None:
        """Fill it. `patience`: seconds without a byte. LostError."""
        while view:
            if count := self.read_some(view):
                view = view[count:]
            else:
                self._wait_readable(time.monotonic() + patience, patience)

    def read_some(self, view: memoryview) -> int:
        """What is here, without waiting. LostError."""
        if not self._received:
            return self._receive(view)
        count = min(len(view), len(self._received))
        view[:count] = self._received[:count]
        del self._received[:count]
        return count

    def write_some(self, data: memoryview) -> memoryview:
        """What the kernel would not take yet."""
        while data:
            try:
                data = data[self._socket.send(data) :]
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                raise self._lost(error) from error
        return data

    def write(self, data: bytes | memoryview, patience: float) -> None:
        exchange([(self, memoryview(data))], [], patience)

    def cut(self) -> None:
        """End every wait on it, from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _take(self, count: int, deadline: float, within: float) -> bytes:
        chunk = memoryview(bytearray(AT_ONCE))
        while len(self._received) < count:
            if size := self._receive(chunk):
                self._received += chunk[:size]
            else:
                self._wait_readable(deadline, within)
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _receive(self, view: memoryview) -> int:
        try:
            count = self._socket.recv_into(view)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise self._lost(error) from error
        if count == 0:
            raise LostError(f"{self.name} closed the connection")
        return count

    def _wait_readable(self, deadline: float, allowed: float) -> None:
        remaining = min(deadline, self._alone_until) - time.monotonic()
        heard = self._waiting.poll(remaining * 1000) if remaining > 0 else []
        if any(descriptor == self.fileno() for descriptor, _ in heard):
            return
        if not heard or self._leader is None:
            raise SilentError(f"{self.name} sent nothing for {allowed:g} s")
        self._waiting.unregister(self._leader)
        self._alone_until = time.monotonic() + _ALONE
        self._wait_readable(deadline, allowed)

    def _lost(self, error: OSError) -> LostError:
        return LostError(f"{self.name} is gone: {(error.strerror or str(error)).lower()}")


def exchange(outgoing: Sequence[tuple[Link, memoryview]], incoming: Sequence[tuple[Link, memoryview]], patience: float) -> None:
    """
    Send these and fill those: both at once where the kernel takes no more, for a peer may send before it reads.

    `patience`: seconds without a byte. LostError.
    """
    unsent = [(link, rest) for link, data in outgoing if (rest := link.write_some(data))]
    if unsent:
        _both(unsent, list(incoming), patience)
        return
    for link, view in incoming:
        link.read_into(view, patience)


def _both(unsent: list[tuple[Link, memoryview]], unread: list[tuple[Link, memoryview]], patience: float) -> None:
    while unsent or unread:
        before = sum(len(view) for _, view in unsent + unread)
        unsent = [(link, rest) for link, data in unsent if (rest := link.write_some(data))]
        unread = [(link, view[count:]) for link, view in unread if (count := link.read_some(view)) < len(view)]
        if before == sum(len(view) for _, view in unsent + unread):
            _wait(unsent, unread, patience)


def _wait(unsent: list[tuple[Link, memoryview]], unread: list[tuple[Link, memoryview]], patience: float) -> None:
    waiting = select.poll()
    events = dict.fromkeys((link for link, _ in unread), select.POLLIN)
    for link, _ in unsent:
        events[link] = events.get(link, 0) | select.POLLOUT
    for link, wanted in events.items():
        waiting.register(link, wanted)
    if not waiting.poll(patience * 1000):
        names = ", ".join(sorted(link.name for link in events))
        raise SilentError(f"{names} neither took nor sent anything for {patience:g} s")
