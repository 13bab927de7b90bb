#!/usr/bin/env python3
"""
A way to a server that ends with the server: deadly_proxy.py PORT PID

Bytes go through to 127.0.0.1:PORT until an answer to a chat has carried its first text; then PID is killed, at a moment
that no test could hit from outside. Prints `port N` as its first line.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

TARGET, VICTIM = int(sys.argv[1]), int(sys.argv[2])
is_chatting: set[asyncio.StreamWriter] = set()


async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
    try:
        server, to_server = await asyncio.open_connection("127.0.0.1", TARGET)
    except OSError:
        to_client.close()
        return
    await asyncio.gather(there(client, to_server, to_client), back(server, to_client, to_server), return_exceptions=True)


async def there(client: asyncio.StreamReader, to_server: asyncio.StreamWriter, to_client: asyncio.StreamWriter) -> None:
    while data := await client.read(65536):
        if b"POST /v1/chat/completions" in data:
            is_chatting.add(to_client)
        to_server.write(data)
        await to_server.drain()
    to_server.close()


async def back(server: asyncio.StreamReader, to_client: asyncio.StreamWriter, to_server: asyncio.StreamWriter) -> None:
    while data := await server.read(65536):
        end = has_text(data) if to_client in is_chatting else 0
        to_client.write(data[:end] if end else data)
        await to_client.drain()
        if end:
            os.kill(VICTIM, signal.SIGKILL)
            break
    to_client.close()
    to_server.close()


def has_text(data: bytes) -> int:
    """Where the first event with text ends; 0 without one."""
    place = data.find(b'"content":"')
    return data.find(b"\n\n", place) + 2 if place >= 0 else 0


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.wait_for(server.serve_forever(), 300)  # nobody is left behind for ever


asyncio.run(main())
