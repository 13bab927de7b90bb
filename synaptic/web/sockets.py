"""Websockets that only tell: what a viewer sends is not heard, and one that does not read is cut off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from aiohttp import WSCloseCode, web

from synaptic.web.hub import Feed, Viewer
from synaptic.web.security import PROTOCOL

MOST = 64  # viewers of one server
SLOW = 10.0
HEARTBEAT = 20.0  # seconds between two pings
_LONGEST = 1024  # bytes of a message to us


class Sockets:
    """Every websocket of a server, so that all of them can be closed. `slow`: seconds in which a viewer must have taken a message."""

    def __init__(self, slow: float = SLOW) -> None:
        self._slow = slow
        self._open: set[web.WebSocketResponse] = set()

    async def serve(self, request: web.Request, feed: Feed, greeting: Sequence[str] = ()) -> web.StreamResponse:
        """Until either side closes."""
        if len(self._open) >= MOST:
            raise web.HTTPServiceUnavailable(reason="Too many viewers")
        socket = web.WebSocketResponse(protocols=(PROTOCOL,), heartbeat=HEARTBEAT, max_msg_size=_LONGEST, compress=False, timeout=1.0)
        if not socket.can_prepare(request).ok:
            raise web.HTTPUpgradeRequired(reason="This is a websocket")
        await socket.prepare(request)
        self._open.add(socket)
        try:
            with feed.viewer() as viewer:
                telling = asyncio.create_task(self._tell(request, socket, viewer, greeting))
                try:
                    async for _ in socket:
                        pass
                finally:
                    telling.cancel()
                    await asyncio.wait([telling])
        finally:
            self._open.discard(socket)
        return socket

    async def close(self) -> None:
        await asyncio.gather(*(_close(socket) for socket in list(self._open)))

    async def _tell(self, request: web.Request, socket: web.WebSocketResponse, viewer: Viewer, greeting: Sequence[str]) -> None:
        try:
            for text in greeting:
                await socket.send_str(text)
            while True:
                text = await viewer.next()
                async with asyncio.timeout(self._slow):
                    await socket.send_str(text)
        except (TimeoutError, ConnectionError):
            if request.transport:
                request.transport.abort()


async def _close(socket: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(1.0):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server ends")
