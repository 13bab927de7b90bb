"""
Proof that a distributed-llama worker is one, by a complete empty session; only on request.

A worker ends when its root leaves too early, so this cannot be cancelled: it runs in a thread, to its end.
"""

from __future__ import annotations

import asyncio
import socket
import time

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.connection import why
from synaptic.cluster.handshake import Foreign
from synaptic.dllama.session import ACK, BUSY, EMPTY_SESSION
from synaptic.endpoint import Endpoint
from synaptic.errors import os_reason
from synaptic.terminal import one_line

WITHIN = 1.5  # seconds to connect
PATIENCE = 5.0  # seconds for the first answer: a worker whose machine is busy ends when we give up on it
_LATER = 10.0  # seconds for each later one: it is a worker


async def prove(endpoint: Endpoint, *, within: float = WITHIN, patience: float = PATIENCE) -> Backend | Foreign:
    """Never raises for what a peer does. Not beside a root that is about to start: the worker is away for a moment."""
    return await asyncio.to_thread(_session, endpoint, within, patience)


def _session(endpoint: Endpoint, within: float, patience: float) -> Backend | Foreign:
    began = time.perf_counter()
    try:
        sock = socket.create_connection((endpoint.host, endpoint.port), timeout=within)
    except TimeoutError:
        return Foreign(endpoint, "silent", f"took no connection in {within:g} s: host down or filtered")
    except ConnectionRefusedError as error:
        return Foreign(endpoint, "closed", f"{why(error)}, or it is a dllama worker in use")
    except (OSError, UnicodeError) as error:
        return Foreign(endpoint, "closed", why(error))
    with sock:
        sock.settimeout(patience)
        return _talk(sock, endpoint, began, patience)


def _talk(sock: socket.socket, endpoint: Endpoint, began: float, patience: float) -> Backend | Foreign:
    has_proved = False
    try:
        for step in EMPTY_SESSION:
            sock.sendall(step.request)
            if (received := _read(sock, len(step.reply))) != step.reply:
                if received == BUSY[: len(ACK)]:
                    return Backend(endpoint, Kind.DLLAMA, State.BUSY, detail="serves another root")
                return Foreign(endpoint, "garbage" if received else "closed", _objection(received, has_proved=has_proved))
            if not has_proved:
                has_proved, latency_ms = True, round((time.perf_counter() - began) * 1000, 2)
                sock.settimeout(_LATER)
    except TimeoutError:
        said = "went silent in the middle of the session" if has_proved else f"did not answer in {patience:g} s"
        return Foreign(endpoint, "silent", f"{said}: busy, or no dllama worker")
    except OSError as error:
        return Foreign(endpoint, "reset", f"ended the connection: {os_reason(error)}")
    return Backend(endpoint, Kind.DLLAMA, State.IDLE, latency_ms=latency_ms)


def _read(sock: socket.socket, count: int) -> bytes:
    """`count` bytes, or fewer when the stream ends; for none, whatever comes before the end."""
    received = b""
    while len(received) < max(count, 1):
        chunk = sock.recv(max(count - len(received), 1))
        if not chunk:
            break
        received += chunk
    return received


def _objection(received: bytes, *, has_proved: bool) -> str:
    if not received:
        return "closed the connection" + (" in the middle of the session" if has_proved else " without an answer")
    return f"answered something else: {one_line(received.decode('utf-8', 'replace'), 60)}"
