"""
The handshake with an rpc-server: what it is, what it offers, and no harm done.

An rpc-server serves one connection at a time, and dies of SIGPIPE when it answers someone who has said HELLO and
left with a FIN; see connection.py for how we leave.

    connected ── HELLO ──▶ answered ── DEVICE_COUNT, GET_DEVICE_MEMORY … ──▶ idle | incompatible
        │          │──▶ closed at once: an older server, greeted in the old form on a new connection
        │          │──▶ silent: busy, or something that waits for a line; a line end tells which
        │──▶ refused, no route, dropped: unreachable
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import ipaddress
import socket
import time

from synaptic.cluster import protocol
from synaptic.cluster.backend import Backend, Device, Kind, State
from synaptic.cluster.connection import Address, Connection, HungUpError, connected, why
from synaptic.cluster.protocol import ProtocolError, Question, Version
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError

__all__ = ["WITHIN", "Foreign", "Version", "shake"]

WITHIN = 1.5
_PATIENCE = 0.8  # of the time allowed: so long nothing but an answer is waited for


@dataclasses.dataclass(frozen=True)
class Foreign:
    """What answered but is no rpc-server. `reason`: http, closed, reset, garbage or implausible."""

    endpoint: Endpoint
    reason: str
    detail: str


async def shake(endpoint: Endpoint, *, within: float = WITHIN, speaks: Version | None = None) -> Backend | Foreign:
    """Ask what lives at `endpoint`, in at most `within` seconds. Never raises for what a peer does.

    `speaks` is the protocol of the engine here: it decides what is incompatible. Without it only old servers are.
    """
    talk = _Talk(endpoint, within, speaks)
    try:
        async with asyncio.timeout(within):
            return await talk.run()
    except TimeoutError:
        return talk.out_of_time()
    except ProtocolError as error:
        return Foreign(endpoint, error.reason, str(error))
    except BackendError as error:
        return Backend(endpoint, Kind.RPC, State.UNREACHABLE, detail=str(error))


class _Step(enum.Enum):
    NAME = "its name was not found"
    CONNECT = "took no connection"
    ANSWER = "did not answer"


class _Talk:
    def __init__(self, endpoint: Endpoint, within: float, speaks: Version | None) -> None:
        self._endpoint = endpoint
        self._within = within
        self._speaks = speaks
        self._step = _Step.NAME
        self._is_ipv6 = False

    async def run(self) -> Backend:
        address = await self._resolve()
        self._is_ipv6 = len(address) > 2
        try:
            return await self._greet(address, protocol.HELLO)
        except HungUpError:  # so a server from before the 24 bytes refuses them, with a RST over what it left unread
            return await self._greet(address, protocol.OLD_HELLO)

    def out_of_time(self) -> Backend:
        what = f"{self._step.value} in {self._within:g} s"
        if self._step is _Step.ANSWER:
            return Backend(self._endpoint, Kind.RPC, State.BUSY, detail=f"{what}: busy with another coordinator, or no rpc-server")
        if self._step is _Step.CONNECT:
            what += ": host down, filtered, or a busy worker with a full queue"
        return Backend(self._endpoint, Kind.RPC, State.UNREACHABLE, detail=what)

    async def _resolve(self) -> Address:
        """Of IPv4 where there is one: llama-server speaks nothing else."""
        with contextlib.suppress(ValueError):
            return str(ipaddress.IPv4Address(self._endpoint.host)), self._endpoint.port  # a look-up would cost a thread
        try:
            if not self._endpoint.is_ipv6:
                with contextlib.suppress(OSError):
                    return await _look_up(self._endpoint, socket.AF_INET)
            return await _look_up(self._endpoint, socket.AF_INET6)
        except (OSError, UnicodeError) as error:
            raise BackendError(why(error)) from error

    async def _greet(self, address: Address, hello: Question) -> Backend:
        while True:
            began = time.perf_counter()
            self._step = _Step.CONNECT
            async with connected(address) as connection:
                self._step = _Step.ANSWER
                payload = await self._answer_to(hello, connection)
                if payload is not None:
                    latency_ms = round((time.perf_counter() - began) * 1000, 2)
                    return await self._learn(connection, hello, protocol.parse_hello(payload), latency_ms)

    async def _answer_to(self, hello: Question, connection: Connection) -> bytes | None:
        """None: it answered, but late, and this connection can take no further question."""
        try:
            async with asyncio.timeout(self._within * _PATIENCE):
                return await connection.ask(hello)
        except TimeoutError:
            if connection.has_heard:
                return await connection.answer(hello)
        # Many HTTP servers say nothing before a line ends. An rpc-server takes it for a command whose length never
        # comes, and our RST frees it again.
        await connection.send(protocol.LINE_END)
        await connection.answer(hello)
        return None

    async def _learn(self, connection: Connection, hello: Question, version: Version, latency_ms: float) -> Backend:
        objection = self._objection(version, hello)
        try:
            devices = await _devices(connection, version)
            connection.leave_politely()
        except ProtocolError:
            if not objection:
                raise
            devices = ()  # another version may answer this in another form
        state = State.INCOMPATIBLE if objection else State.IDLE
        return Backend(self._endpoint, Kind.RPC, state, str(version), devices, latency_ms, detail=objection)

    def _objection(self, version: Version, hello: Question) -> str:
        if self._is_ipv6:
            return "answers by IPv6, which llama-server does not speak: name its IPv4 address"
        if self._speaks is None:
            return f"protocol {version}, needs upgrade" if hello is protocol.OLD_HELLO else ""
        if self._speaks.accepts(version):
            return ""
        verdict = "needs upgrade" if version < self._speaks else "too new"
        return f"protocol {version}, {verdict}: the engine here speaks {self._speaks}"


async def _look_up(endpoint: Endpoint, family: socket.AddressFamily) -> Address:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(endpoint.host, endpoint.port, family=family, type=socket.SOCK_STREAM)
    address = found[0][4]
    return (str(address[0]), endpoint.port) if len(address) == 2 else (str(address[0]), endpoint.port, address[2], address[3])


async def _devices(connection: Connection, version: Version) -> tuple[Device, ...]:
    if version.major < 3:
        return (protocol.parse_memory(await connection.ask(protocol.MEMORY_OF_ONLY_DEVICE), 0),)
    count = protocol.parse_device_count(await connection.ask(protocol.DEVICE_COUNT))
    return tuple([protocol.parse_memory(await connection.ask(protocol.memory_of(device)), device) for device in range(count)])
