"""The gateway as a part of a session: it listens when told to, and closes with it. Light to import; see app.py for its routes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

    from synaptic.session import Session
    from synaptic.web.gateway.app import Gateway
    from synaptic.web.listen import Listening

OPEN = ("/",)  # says only that somebody is there
_WORDS = {
    401: "a key is needed here: Authorization: Bearer KEY",
    421: "no server of that name here: ask for http://127.0.0.1 and this port, or serve with a key",
}


class GatewayFace:
    """A Face (see services.py). The session's `gateway_key` is what clients must show; None: nobody must."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._gateway: Gateway | None = None
        self._listening: Listening | None = None
        self._turn = asyncio.Lock()

    @property
    def url(self) -> str | None:
        return self._listening.url if self._listening else None

    async def start(self, *, host: str, port: int) -> str:
        """Listen, on the next port if that one is taken; the URL. Does nothing when it listens already."""
        async with self._turn:
            if self._listening is None:
                self._listening = await self._open(host, port)
            return self._listening.url

    async def close(self) -> None:
        async with self._turn:
            gateway, listening, self._gateway, self._listening = self._gateway, self._listening, None, None
            if gateway:
                await gateway.close()
            if listening:
                await listening.close()

    async def _open(self, host: str, port: int) -> Listening:
        from synaptic.web.gateway.app import Gateway
        from synaptic.web.listen import listen
        from synaptic.web.security import guard, hosts_of

        gateway = Gateway(self._session)
        app = gateway.application()
        app.middlewares.insert(0, guard(hosts_of(host), self._session.gateway_key, OPEN, refuse=_refused))
        listening = await listen(app, host, port)
        self._gateway = gateway
        return listening


def _refused(status: int, sentence: str) -> web.StreamResponse:
    from synaptic.web.gateway.refusal import Refusal

    return Refusal(status, _WORDS.get(status, sentence)).response("/v1/")
