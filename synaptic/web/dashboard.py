"""The dashboard: what it listens to while it is on, and where it listens. Light to import; see app.py for its routes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from synaptic.endpoint import Endpoint

if TYPE_CHECKING:
    from synaptic.session import Session
    from synaptic.web.listen import Listening
    from synaptic.web.wiring import Wiring

TOKEN_FILE = "dashboard.token"


class Dashboard:
    """A Face (see services.py)."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._wiring: Wiring | None = None
        self._listening: Listening | None = None
        self._token = ""
        self._address = ""
        self._asked_before: Callable[[str], Awaitable[bool]] | None = None
        self._turn = asyncio.Lock()

    @property
    def url(self) -> str | None:
        return self._address if self._listening else None

    async def start(self, *, host: str, port: int) -> str:
        """The address with the token in it. Raises SynapticError where it cannot listen."""
        async with self._turn:
            if self._listening is None:
                await self._open(host, port)
            return f"{self._address}/#token={self._token}"

    async def close(self) -> None:
        async with self._turn:
            listening, wiring = self._listening, self._wiring
            self._listening = self._wiring = None
            if wiring:
                self._session.confirm = self._asked_before or self._session.confirm
                await wiring.close()
            if listening:
                await listening.close()

    async def _open(self, host: str, port: int) -> None:
        from synaptic.web.app import make
        from synaptic.web.listen import listen
        from synaptic.web.security import hosts_of, kept_token
        from synaptic.web.wiring import Wiring

        state = self._session.environment.state_dir
        self._token = await asyncio.to_thread(kept_token, state / TOKEN_FILE if state else None)
        wiring = Wiring(self._session)
        app = make(self._session, wiring, hosts=hosts_of(host), token=self._token, reads_are_open=Endpoint(host, port).is_loopback)
        self._listening = await listen(app, host, port)
        self._address = _shown(self._listening, host)
        self._wiring = wiring
        wiring.open()
        self._asked_before, self._session.confirm = self._session.confirm, self._confirm

    async def _confirm(self, question: str) -> bool:
        """Whoever started the command is asked: the page for its own, else the shell."""
        from synaptic.web import running

        if running.is_asked_here.get():
            return await running.confirm(question)
        assert self._asked_before
        return await self._asked_before(question)


def _shown(listening: Listening, host: str) -> str:
    """An address that a browser can open."""
    with contextlib.suppress(OSError):
        if host in ("0.0.0.0", "::"):
            return f"http://{socket.gethostname()}:{listening.port}"
    return listening.url
