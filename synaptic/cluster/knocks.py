"""
Knocks at an rpc worker: how long a round trip to it takes.

A knock is a connection that is closed without a word, which harms no worker, one after the other, because it serves
one client at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, os_reason

_WITHIN = 5.0  # seconds


async def knocks(endpoint: Endpoint, count: int) -> list[float]:
    """Seconds of each. Raises BackendError."""
    return [await _knock(endpoint) for _ in range(count)]


async def _knock(endpoint: Endpoint) -> float:
    began = time.monotonic()
    try:
        async with asyncio.timeout(_WITHIN):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
            took = time.monotonic() - began
            writer.write_eof()
            with contextlib.suppress(OSError):
                await reader.read(1)  # its end: so it is free for the next
                writer.close()
                await writer.wait_closed()
    except OSError as error:
        why = "it takes too long" if isinstance(error, TimeoutError) else os_reason(error)
        raise BackendError(f"{endpoint} does not answer: {why}", hint="try: rpc check") from error
    return took
