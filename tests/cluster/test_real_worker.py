"""The real ggml-rpc-server: proved, and never harmed."""

from __future__ import annotations

import asyncio
import socket

import pytest

from synaptic.cluster.backend import Backend, State
from synaptic.cluster.handshake import Version, shake

pytestmark = [pytest.mark.anyio, pytest.mark.live]
HELLO = bytes.fromhex("0e1800000000000000") + bytes(24)


async def proved(worker, **options) -> Backend:
    answer = await shake(worker.endpoint, **{"within": 20.0} | options)
    assert isinstance(answer, Backend), answer
    return answer


def hold(worker) -> socket.socket:
    """A coordinator, as far as the worker can tell."""
    holder = socket.create_connection((worker.endpoint.host, worker.endpoint.port), timeout=30)
    holder.sendall(HELLO)
    received = b""
    while len(received) < 36:
        received += holder.recv(36 - len(received))
    return holder


async def test_an_idle_worker_is_proved(rpc_worker):
    backend = await proved(rpc_worker())
    assert backend.state is State.IDLE
    assert backend.version == str(Version.parse(backend.version or ""))
    assert [device.name for device in backend.devices] == ["RPC0"]
    assert 0 < backend.free_bytes <= backend.devices[0].total


async def test_a_worker_of_another_version_is_incompatible(rpc_worker):
    backend = await proved(rpc_worker(), speaks=Version(8, 0, 0))
    assert backend.state is State.INCOMPATIBLE
    assert "the engine here speaks 8.0.0" in backend.detail


async def test_a_busy_worker_survives_twenty_checks(rpc_worker):
    """A check that left with a FIN would kill it as soon as its coordinator leaves."""
    worker = rpc_worker(shielded=False)
    for _ in range(20):
        with hold(worker):
            assert (await proved(worker, within=0.2)).state is State.BUSY
        assert (await proved(worker)).state is State.IDLE
    assert worker.process.poll() is None


async def test_a_check_that_is_cancelled_at_any_moment_harms_nobody(rpc_worker):
    worker = rpc_worker(shielded=False)
    for moments in range(1, 60):
        check = asyncio.create_task(shake(worker.endpoint))
        for _ in range(moments // 3):
            await asyncio.sleep(0)
        check.cancel()
        await asyncio.gather(check, return_exceptions=True)
    assert (await proved(worker)).state is State.IDLE
    assert worker.process.poll() is None
