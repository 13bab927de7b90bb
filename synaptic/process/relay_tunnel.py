"""A question to a worker that is reached over TLS: a way through, for one handshake at a time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
from collections.abc import Coroutine

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.handshake import WITHIN, Foreign, Version, shake
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.process.relay_trust import Trust
from synaptic.process.relay_wire import LEAVE_BY_RESET, how
from synaptic.process.relayed import Relayed

_CHUNK = 4096


async def shake_behind(relayed: Relayed, endpoint: Endpoint, *, within: float = WITHIN, speaks: Version | None = None) -> Backend | Foreign:
    """As `shake`, over TLS where `relayed` says so. Never raises, not even for a file of it that does not fit."""
    try:
        trust = relayed.trust().get(endpoint)
    except UsageError as error:
        return Backend(endpoint, Kind.RPC, State.UNREACHABLE, detail=str(error))
    if trust:
        return await shake_over_tls(endpoint, trust, within=within, speaks=speaks)
    return await shake(endpoint, within=within, speaks=speaks)


async def shake_over_tls(endpoint: Endpoint, trust: Trust, *, within: float = WITHIN, speaks: Version | None = None) -> Backend | Foreign:
    """As `shake`, of the worker behind `endpoint`. What is wrong with its certificate becomes its detail."""
    way = _Way(endpoint, trust, within)
    server = await asyncio.start_server(way.accept, "127.0.0.1", 0)
    try:
        inner = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
        answer = await shake(inner, within=within, speaks=speaks)
    finally:
        server.close()
        await way.close()
    if way.trouble:
        return Backend(endpoint, Kind.RPC, State.UNREACHABLE, detail=way.trouble)
    return dataclasses.replace(answer, endpoint=endpoint)


class _Way:
    def __init__(self, endpoint: Endpoint, trust: Trust, within: float) -> None:
        self.trouble = ""
        self._endpoint = endpoint
        self._trust = trust
        self._within = within
        self._tasks: list[asyncio.Task[None]] = []

    def accept(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.create_task(self._serve(near_reader, near)))

    async def close(self) -> None:
        """Nothing is left open after this."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._within):
                far_reader, far = await asyncio.open_connection(
                    self._endpoint.host, self._endpoint.port, ssl=self._trust.context(), server_hostname=self._endpoint.host
                )
                secure: ssl.SSLObject = far.get_extra_info("ssl_object")
                self._trust.check(secure.getpeercert(binary_form=True))
                far.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LEAVE_BY_RESET)
                try:
                    await _either(_flow(near_reader, far), _flow(far_reader, near))
                finally:
                    far.transport.abort()
        except (OSError, UsageError) as error:
            self.trouble = how(error) if isinstance(error, OSError) else str(error)
        finally:
            near.transport.abort()


async def _either(*flows: Coroutine[object, object, None]) -> None:
    """Until one side has ended."""
    tasks = [asyncio.create_task(flow) for flow in flows]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _flow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
