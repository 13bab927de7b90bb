"""Our workers on the link, and those of others that turn up there. Spoken on the loopback interface only."""

from __future__ import annotations

import asyncio
import fcntl
import tempfile
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from synaptic.cluster.backend import Kind
from synaptic.discovery.announcements import DLLAMA, RPC, Announcements
from synaptic.discovery.announcer import Announcer
from synaptic.discovery.complaints import Complaints
from synaptic.discovery.description import Description
from synaptic.discovery.mdns import Service, browse
from synaptic.discovery.newcomers import Newcomers
from synaptic.endpoint import Endpoint
from synaptic.events import Bus, Noticed

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]  # each waits for its turn on the link
HERE = (IPv4Address("127.0.0.1"),)
A, B = Endpoint("127.0.0.1", 50052), Endpoint("127.0.0.1", 50053)
IDLE, BUSY = Description(protocol="7.0.0", memory=24105, state="idle"), Description(protocol="7.0.0", memory=24105, state="busy")


@pytest.fixture(autouse=True)
def alone():
    """There is one loopback interface: tests that run side by side would hear each other."""
    with (Path(tempfile.gettempdir()) / "synaptic-test-mdns.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
async def announcements(alone, bus) -> AsyncIterator[Announcements]:
    announcements = Announcements(Complaints(bus), Newcomers(bus, lambda endpoint: endpoint == A), at_first=0.0)
    yield announcements
    await announcements.close()


def said(bus: Bus) -> list[str]:
    return [event.text for event in bus.history if isinstance(event, Noticed)]


async def heard() -> dict[int, dict[str, str]]:
    """What the link says: port → text. Long enough for what was told a moment ago (RFC 6762, 6)."""
    services: tuple[Service, ...] = (await browse(HERE, [RPC], within=3.0)).services
    return {service.port: dict(service.text) for service in services}


async def test_what_is_known_of_a_worker_is_told_and_told_anew_under_the_same_name(announcements, bus):
    announcements.show({A: IDLE}, HERE)
    await announcements.settled()
    first = (await browse(HERE, [RPC], within=3.0)).services
    assert dict(first[0].text) == {"txtvers": "1"} | IDLE.text()
    announcements.show({A: BUSY}, HERE)
    await announcements.settled()
    second = (await browse(HERE, [RPC], within=3.0)).services
    assert [(each.name, each.port) for each in second] == [(each.name, each.port) for each in first]
    assert dict(second[0].text)["st"] == "busy"
    assert said(bus) == []


async def test_what_is_wanted_meanwhile_is_done_after_it(announcements):
    announcements.show({A: IDLE}, HERE)
    announcements.show({A: IDLE, B: IDLE}, HERE)
    announcements.show({B: BUSY}, HERE)
    await announcements.settled()
    assert {port: text["st"] for port, text in (await heard()).items()} == {50053: "busy"}


async def test_who_leaves_the_link_is_gone_and_may_come_back(announcements):
    announcements.show({A: IDLE}, HERE)
    await announcements.settled()
    announcements.show(None, HERE)
    await announcements.settled()
    assert await heard() == {}
    announcements.show({A: IDLE}, HERE)
    await announcements.settled()
    assert list(await heard()) == [50052]


async def test_a_link_that_was_never_wanted_is_not_entered(announcements):
    announcements.show(None, HERE)
    await announcements.settled()
    await announcements.close()


async def test_without_an_interface_that_is_said_once(announcements, bus):
    for workers in ({A: IDLE}, {A: BUSY}, {}):
        announcements.show(workers, ())
        await announcements.settled()
    assert said(bus) == ["cannot announce by zeroconf: no interface to use"]


async def test_a_worker_that_turns_up_is_proposed_and_ours_is_not(announcements, bus):
    announcements.show({A: IDLE}, HERE)
    await announcements.settled()
    other = Announcer(HERE)
    await other.start()
    async with asyncio.timeout(30):
        with bus.subscribe(Noticed) as notices:
            await other.announce("other", RPC, B, {})
            async for notice in notices:
                assert notice.text == f"zeroconf knows a new worker {B}   try: rpc add {B}"
                break
    await other.close()
    assert len(said(bus)) == 1


async def test_it_closes_while_it_works(bus):
    announcements = Announcements(Complaints(bus), Newcomers(bus, lambda _: False))
    announcements.show({A: IDLE}, HERE)
    await announcements.close()
    assert await heard() == {}


async def test_a_worker_for_distributed_llama_is_told_under_its_own_name(announcements):
    one = Description(kind=Kind.DLLAMA, engine="synaptic", model="demo-q40.m", state="idle")
    announcements.show({A: IDLE, B: one}, HERE)
    await announcements.settled()
    services = (await browse(HERE, [RPC, DLLAMA], within=3.0)).services
    assert {(each.kind, each.port) for each in services} == {(Kind.RPC, A.port), (Kind.DLLAMA, B.port)}
    assert next(dict(each.text) for each in services if each.kind is Kind.DLLAMA) == {"txtvers": "1"} | one.text()
