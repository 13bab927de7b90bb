"""Proving a distributed-llama worker without ending it."""

from __future__ import annotations

import asyncio

import pytest

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.dllama import prove
from synaptic.cluster.handshake import Foreign
from synaptic.endpoint import Endpoint

pytestmark = pytest.mark.anyio


async def test_a_free_worker_is_proved_again_and_again(dllamafake):
    endpoint, worker = dllamafake()
    for number in range(1, 21):
        answer = await prove(endpoint)
        assert isinstance(answer, Backend)
        assert (answer.kind, answer.state) == (Kind.DLLAMA, State.IDLE)
        assert worker.stdout.readline() == f"session {number} complete\n"


async def test_once_begun_it_is_finished_even_when_cancelled(dllamafake):
    endpoint, worker = dllamafake("--mode", "slow")
    for number in (1, 2):
        proving = asyncio.create_task(prove(endpoint))
        assert await asyncio.to_thread(worker.stdout.readline) == "greeted\n"
        proving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await proving
        assert await asyncio.to_thread(worker.stdout.readline) == f"session {number} complete\n"


@pytest.mark.parametrize(
    ("mode", "reason", "detail"),
    [
        ("wrong-ack", "garbage", "answered something else: ^@^@^@^@"),
        ("silent", "silent", "did not answer in 0.2 s: busy, or no dllama worker"),
        ("hang-up", "closed", "closed the connection without an answer"),
    ],
)
async def test_what_is_no_worker_is_named(dllamafake, mode, reason, detail):
    endpoint, _ = dllamafake("--mode", mode)
    assert await prove(endpoint, patience=0.2 if mode == "silent" else 20.0) == Foreign(endpoint, reason, detail)


async def test_where_nothing_listens_it_says_so(closed_port):
    told = "refused the connection: no server listens there, or it is a dllama worker in use"
    assert await prove(closed_port) == Foreign(closed_port, "closed", told)


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".invalid"])
async def test_a_name_that_nobody_knows_is_said(host):
    assert await prove(Endpoint(host, 9999)) == Foreign(Endpoint(host, 9999), "closed", "no address is known by its name")


async def test_an_rpc_server_is_not_harmed_by_it(rpcfake):
    """It waits for one byte more than the hello has, so nothing is answered to someone who has left."""
    fake = rpcfake()
    answer = await prove(fake.endpoint, patience=0.2)
    assert isinstance(answer, Foreign)
    assert answer.reason == "silent"
