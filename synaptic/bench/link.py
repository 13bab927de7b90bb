"""
The link to an rpc worker: how long a round trip takes, and how many bytes a second pass.

A knock is a connection that is closed without a word, which harms no worker, one after the other, because it serves
one client at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError

KNOCK_WITHIN = 5.0  # seconds


async def knocks(endpoint: Endpoint, count: int) -> list[float]:
    """Seconds of each. Raises BackendError."""
    return [await _knock(endpoint) for _ in range(count)]


async def _knock(endpoint: Endpoint) -> float:
    began = time.monotonic()
    try:
        async with asyncio.timeout(KNOCK_WITHIN):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            took = time.monotonic() - began
            writer.write_eof()
            with contextlib.suppress(OSError):
                await reader.read(1)  # its end: so it is free for the next
                writer.close()
                await writer.wait_closed()
    except OSError as error:
        raise BackendError(f"{endpoint} does not answer: {error.strerror or 'it takes too long'}", hint="try: rpc check") from error
    return took
