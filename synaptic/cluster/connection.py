"""
One connection to a server that may die of how we leave.

It is set to leave with a RST before its first byte, so that whatever cuts it short (a deadline, Ctrl-C, an error)
is harmless. It is never half-closed: an rpc-server dies of a RST after a FIN just as of a FIN alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator

from synaptic.cluster import protocol
from synaptic.cluster.protocol import ProtocolError, Question
from synaptic.errors import BackendError

_LEAVE_BY_RESET = struct.pack("ii", 1, 0)
_LEAVE_POLITELY = struct.pack("ii", 0, 0)
_CHUNK = 1024  # an answer is at most 36 bytes; the rest is for an HTTP server to name itself

Address = tuple[str, int] | tuple[str, int, int, int]  # of IPv4, of IPv6


class HungUpError(ProtocolError):
    """The connection ended before a single byte came."""


class Connection:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self.has_heard = False

    async def ask(self, question: Question) -> bytes:
        """The payload of the answer. Raises ProtocolError."""
        await self.send(question.request)
        return await self.answer(question)

    async def send(self, request: bytes) -> None:
        try:
            await self._loop.sock_sendall(self._socket, request)
        except OSError as error:
            raise self._ended("reset") from error

    async def answer(self, question: Question) -> bytes:
        """May be cancelled and called again: what came so far is kept."""
        while (payload := protocol.payload_of(self._received, question.reply_length)) is None:
            self._received += await self._receive()
        self._received = b""
        return payload

    def leave_politely(self) -> None:
        """Only when every answer was read."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LEAVE_POLITELY)

    async def _receive(self) -> bytes:
        try:
            chunk = await self._loop.sock_recv(self._socket, _CHUNK)
        except OSError as error:
            raise self._ended("reset") from error
        if not chunk:
            raise self._ended("closed")
        self.has_heard = True
        return chunk

    def _ended(self, how: str) -> ProtocolError:
        if self.has_heard:
            return ProtocolError(how, f"{how} the connection in the middle of an answer")
        return HungUpError(how, f"{how} the connection without an answer")


@contextlib.asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Connection]:
    """Raises BackendError, a sentence, when there is no way to connect. Sets no deadline."""
    try:
        opened = socket.socket(socket.AF_INET if len(address) == 2 else socket.AF_INET6, socket.SOCK_STREAM)
    except OSError as error:
        raise BackendError(why(error)) from error
    with opened as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LEAVE_BY_RESET)
        try:
            await asyncio.get_running_loop().sock_connect(sock, address)
        except OSError as error:
            raise BackendError(why(error)) from error
        yield Connection(sock)


def why(error: OSError | UnicodeError) -> str:
    """What `connect` or a look-up failed of, as what the other side did."""
    if isinstance(error, (socket.gaierror, UnicodeError)):  # UnicodeError: a label that no name may have
        return "no address is known by its name"
    if error.errno == errno.ECONNREFUSED:
        return "refused the connection: no server listens there"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "no route to it"
    if error.errno == errno.ETIMEDOUT:
        return "took no connection: host down or filtered"
    if error.errno == errno.EINVAL:
        return "an address that begins with fe80 needs its interface, such as %eth0 at its end"
    return f"cannot be reached: {os.strerror(error.errno).lower() if error.errno else error}"
