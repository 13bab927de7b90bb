"""A server on the first free port. It belongs to the loop that started it."""

from __future__ import annotations

import dataclasses
import errno
from typing import TYPE_CHECKING

from synaptic.errors import SynapticError, os_reason

if TYPE_CHECKING:
    from aiohttp import web

TRIES = 20
_GOODBYE = 1.0  # seconds for requests that still run when the server closes
_TAKEN = (errno.EADDRINUSE, errno.EACCES)


@dataclasses.dataclass(frozen=True)
class Listening:
    """`url` ends without a slash."""

    url: str
    port: int
    runner: web.AppRunner

    async def close(self) -> None:
        """The port is free after this."""
        await self.runner.cleanup()


async def listen(app: web.Application, host: str, port: int, tries: int = TRIES) -> Listening:
    """On `port`, or the next one that is free; 0: any. A client that goes away cancels its handler. Raises SynapticError."""
    from aiohttp import web

    runner = web.AppRunner(app, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=_GOODBYE)
    await runner.setup()
    try:
        for candidate in range(port, min(port + max(tries, 1), 65536)):
            try:
                await web.TCPSite(runner, host, candidate).start()
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise SynapticError(f"cannot listen on {host}: {os_reason(error)}", hint="try another --host") from error
                continue
            bound = int(runner.addresses[0][1])
            return Listening(f"http://{f'[{host}]' if ':' in host else host}:{bound}", bound, runner)
        raise SynapticError(f"the ports {port} to {port + tries - 1} of {host} are taken", hint="try another --port")
    except BaseException:
        await runner.cleanup()
        raise
