"""Our workers at a Consul agent: listed while they run, told of once when that fails, and gone in the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import urllib.request
from collections.abc import AsyncIterator
from ipaddress import IPv4Address

import pytest

from synaptic.discovery.complaints import Complaints
from synaptic.discovery.consul_answers import Access
from synaptic.discovery.description import Description
from synaptic.discovery.registration import Registration
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError
from synaptic.events import Bus, Noticed

pytestmark = pytest.mark.anyio
HERE, ALSO_HERE = IPv4Address("10.77.0.1"), IPv4Address("10.78.0.1")
A, B = Endpoint("10.77.0.1", 50052), Endpoint("10.77.0.1", 50053)
IDLE, BUSY = Description(protocol="7.0.0", state="idle"), Description(protocol="7.0.0", state="busy")


@pytest.fixture
def bus() -> Bus:
    return Bus()


def said(bus: Bus) -> list[str]:
    return [event.text for event in bus.history if isinstance(event, Noticed)]


@contextlib.asynccontextmanager
async def registration(port: int, bus: Bus, *, ttl: float = 30.0, token: str = "") -> AsyncIterator[Registration]:
    made = Registration(Access(f"http://127.0.0.1:{port}", token), Complaints(bus), ttl=ttl)
    try:
        async with asyncio.timeout(30):
            yield made
    finally:
        await made.close()


def listed(port: int) -> dict[str, dict[str, str]]:
    """Each healthy llama-rpc service → its Meta."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/health/service/llama-rpc?passing=1") as answer:
        services = [entry["Service"] for entry in json.load(answer)]
    return {f"{each['Address']}:{each['Port']}": each["Meta"] for each in services}


async def until_listed(port: int, **states: str) -> None:
    """Returns when exactly these are listed: address → state."""
    while {name: meta["state"] for name, meta in (await asyncio.to_thread(listed, port)).items()} != states:
        await asyncio.sleep(0.01)


async def told(fake, *, but: str = "GET") -> str:
    """The next request that changes something: its verb and name."""
    while (line := await asyncio.to_thread(fake.line)).startswith(but):
        pass
    return line.removeprefix("PUT /v1/agent/").removesuffix(" token=")


REGISTER, PASS, GO = (
    "service/register?replace-existing-checks=true",
    "check/pass/service:llama-rpc-10.77.0.1-50052",
    "service/deregister/llama-rpc-10.77.0.1-50052",
)


async def test_a_worker_is_listed_with_what_is_known_of_it_and_taken_off_in_the_end(launch, bus):
    fake = launch("consulfake.py")
    async with registration(fake.port, bus) as made:
        made.show({A: IDLE}, (HERE,))
        await until_listed(fake.port, **{str(A): "idle"})
        assert listed(fake.port)[str(A)].items() >= {"proto": "7.0.0", "state": "idle", "role": "worker"}.items()
    assert listed(fake.port) == {}
    assert [await told(fake) for _ in range(3)] == [REGISTER, PASS, GO]
    assert said(bus) == []


async def test_it_is_kept_alive(launch, bus):
    fake = launch("consulfake.py")
    async with registration(fake.port, bus, ttl=0.3) as made:
        made.show({A: IDLE}, (HERE,))
        assert [await told(fake) for _ in range(4)] == [REGISTER, PASS, PASS, PASS]


async def test_news_of_a_worker_and_its_end_are_told_at_once(launch, bus):
    fake = launch("consulfake.py")
    async with registration(fake.port, bus) as made:
        made.show({A: IDLE, B: IDLE}, (HERE,))
        await until_listed(fake.port, **{str(A): "idle", str(B): "idle"})
        made.show({A: BUSY, B: IDLE}, (HERE,))
        await until_listed(fake.port, **{str(A): "busy", str(B): "idle"})
        made.show({B: IDLE}, (HERE,))
        await until_listed(fake.port, **{str(B): "idle"})


async def test_who_looks_meanwhile_never_misses_a_worker_that_is_told_anew(real_agent, bus):
    """A check that begins again must not begin critical. Ends with an empty list at a real agent, too."""
    async with registration(real_agent, bus) as made:
        made.show({A: IDLE}, (HERE,))
        await until_listed(real_agent, **{str(A): "idle"})
        for said_now in (BUSY, IDLE) * 10:
            made.show({A: said_now}, (HERE,))
            while (await asyncio.to_thread(listed, real_agent))[str(A)]["state"] != said_now.state:  # KeyError: missed
                pass
    assert listed(real_agent) == {}
    assert said(bus) == []


async def test_where_it_listens_is_told_only_as_others_reach_it(launch, bus):
    fake = launch("consulfake.py")
    async with registration(fake.port, bus) as made:
        made.show({Endpoint("127.0.0.1", 50051): IDLE, Endpoint("box", 50051): IDLE, Endpoint("0.0.0.0", 50052): IDLE}, (HERE, ALSO_HERE))
        await until_listed(fake.port, **{"10.77.0.1:50052": "idle"})
        made.show({Endpoint("0.0.0.0", 50052): IDLE}, (HERE, IPv4Address("127.0.0.1")))  # as if that were no loopback
        await until_listed(fake.port, **{"127.0.0.1:50052": "idle"})  # the agent is spoken to from there


async def test_an_agent_that_forgot_us_is_told_anew_without_a_word(launch, bus):
    fake = launch("consulfake.py", "--mode", "forgetful")
    async with registration(fake.port, bus, ttl=0.3) as made:
        made.show({A: IDLE}, (HERE,))
        assert [await told(fake) for _ in range(5)] == [REGISTER, PASS, PASS, REGISTER, PASS]
    assert said(bus) == []


async def test_an_agent_that_refuses_is_complained_of_once(launch, bus):
    fake = launch("consulfake.py", "--token", "5ec7e7")
    async with registration(fake.port, bus) as made:
        for state in ("idle", "busy", "idle"):
            made.show({A: Description(state=state)}, (HERE,))
            assert await told(fake) == REGISTER
    assert said(bus) == [f"consul at http://127.0.0.1:{fake.port} wants a token; set CONSUL_HTTP_TOKEN"]


async def test_an_agent_that_comes_later_lists_us_then(launch, bus, free_port):
    async with registration(free_port, bus) as made:
        with bus.subscribe(Noticed) as notices:
            made.show({A: IDLE}, (HERE,))
            async for notice in notices:
                assert "takes no connection: connection refused" in notice.text
                break
        fake = launch("consulfake.py", "--port", str(free_port))
        assert await told(fake) == REGISTER
        await until_listed(free_port, **{str(A): "idle"})
    assert len(said(bus)) == 1


async def test_an_agent_that_says_nothing_keeps_nobody_for_long(bus):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with registration(port, bus) as made:
            made.show({A: IDLE}, (HERE,))
            connection, _ = await asyncio.to_thread(silent.accept)
            asked = await asyncio.to_thread(connection.recv, 100)
        connection.close()
    assert asked.startswith(b"PUT /v1/agent/service/register")
    assert said(bus) == [f"consul at http://127.0.0.1:{port} did not answer in 2 s"]


async def test_certificates_that_cannot_be_read_are_told_of(bus):
    made = Registration(Access("https://127.0.0.1:1", "", "/nowhere"), Complaints(bus))
    with bus.subscribe(Noticed) as notices:
        made.show({A: IDLE}, (HERE,))
        async for notice in notices:
            assert notice.text == "CONSUL_CACERT names no file of certificates that can be read"
            break
    await made.close()


# complaints


def test_of_an_outage_the_first_thing_is_told_and_nothing_twice(bus):
    complaints = Complaints(bus)
    complaints.failed(BackendError("it is down"))
    complaints.failed(BackendError("it is still down"))
    complaints.worked()
    complaints.failed(BackendError("it is down"))
    complaints.worked()
    complaints.failed(BackendError("it wants a token", hint="set one"))
    assert said(bus) == ["it is down", "it wants a token; set one"]


def test_who_always_finds_new_words_is_not_listened_to_for_ever(bus):
    complaints = Complaints(bus)
    for number in range(100):
        complaints.failed(BackendError(f"answered {number}"))
        complaints.worked()
    assert len(said(bus)) == 5
