"""Known dllama workers: looked at without a word, proved only on request, left alone while they are ours."""

from __future__ import annotations

import asyncio

import pytest

from synaptic.cluster.backend import State
from synaptic.cluster.dllama_workers import REFUSES, DllamaWorkers
from synaptic.discovery.dllama_look import look
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError
from synaptic.events import BackendChecked, Bus

pytestmark = pytest.mark.anyio


def known(*endpoints: Endpoint, bus: Bus | None = None) -> DllamaWorkers:
    workers = DllamaWorkers(bus or Bus(), look)
    workers.set_known((endpoint, "configured") for endpoint in endpoints)
    return workers


async def test_an_open_port_is_unverified_until_it_is_proved_and_idle_from_then_on(dllamafake, closed_port):
    endpoint, worker = dllamafake()
    bus = Bus()
    workers = known(endpoint, closed_port, bus=bus)
    for _ in range(5):
        assert [(each.state, each.source) for each in await workers.check()] == [
            (State.UNVERIFIED, "configured"),
            (State.UNREACHABLE, "configured"),
        ]
    proved = await workers.prove()
    assert [(each.state, each.detail) for each in proved] == [(State.IDLE, ""), (State.UNREACHABLE, REFUSES)]
    assert proved[0].latency_ms
    assert [each.state for each in await workers.check()] == [State.IDLE, State.UNREACHABLE]
    assert worker.stdout.readline() == "session 1 complete\n"
    assert worker.poll() is None
    assert {event.kind for event in bus.history if isinstance(event, BackendChecked)} == {"dllama"}


async def test_one_that_was_away_has_to_prove_itself_anew(dllamafake):
    endpoint, worker = dllamafake()
    workers = known(endpoint)
    await workers.prove()
    worker.kill()
    worker.wait()
    assert [each.state for each in await workers.check()] == [State.UNREACHABLE]
    dllamafake("--port", str(endpoint.port))
    assert [each.state for each in await workers.check()] == [State.UNVERIFIED]


async def test_what_is_none_is_not_taken_for_one_again():
    async def answer_something_else(reader, writer):
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer_something_else, "127.0.0.1", 0) as server:
        endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
        workers = known(endpoint)
        assert [each.state for each in await workers.check()] == [State.UNVERIFIED]
        for answers in (await workers.prove(), await workers.check()):
            assert [(each.state, each.detail) for each in answers] == [
                (State.UNREACHABLE, "no dllama worker lives there: it answered something else: HTTP")
            ]


async def test_one_that_we_hold_is_neither_looked_at_nor_proved(closed_port):
    workers = known(closed_port)
    workers.hold([closed_port], "coordinator demo")
    for answers in (await workers.check(), await workers.prove()):
        assert [(each.state, each.detail) for each in answers] == [(State.IN_USE, "in use by coordinator demo")]
    with pytest.raises(BackendError, match="in use by coordinator demo"):
        workers.hold([closed_port], "coordinator other")
    workers.release("coordinator demo")
    assert [each.state for each in await workers.check()] == [State.UNREACHABLE]


async def test_what_served_a_root_of_ours_needs_no_proof(dllamafake):
    endpoint, worker = dllamafake()
    workers = known(endpoint)
    workers.served([endpoint])
    assert [each.state for each in await workers.check()] == [State.IDLE]
    assert worker.poll() is None


async def test_one_that_listens_again_in_time_is_not_absent(dllamafake, closed_port):
    endpoint, worker = dllamafake()
    worker.kill()
    worker.wait()
    looks = 0

    async def look_and_start(endpoints):
        nonlocal looks
        looks += 1
        if looks == 3:
            dllamafake("--port", str(endpoint.port))
        return await look(endpoints)

    workers = DllamaWorkers(Bus(), look_and_start)
    assert await workers.absent([endpoint, closed_port], within=2.0) == {closed_port: REFUSES}
    assert await workers.absent([endpoint], within=60.0) == {}


async def test_without_a_harmless_look_nothing_is_claimed(closed_port):
    async def blind(endpoints):
        return {}

    workers = DllamaWorkers(Bus(), blind)
    workers.set_known([(closed_port, "configured")])
    (answer,) = await workers.check()
    assert (answer.state, answer.detail) == (State.UNVERIFIED, "not looked at: this system has no look that does it no harm")
    assert await workers.absent([closed_port], within=60.0) == {}


async def test_a_name_that_nobody_knows_is_said(closed_port):
    workers = known(Endpoint("nobody.invalid", 9999))
    assert [each.detail for each in await workers.check()] == ["no address is known by its name"]
