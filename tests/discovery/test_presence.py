"""What others are told of the workers here: those that they can reach, with what is known of them, for as long as they run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Address, IPv4Network

import pytest

from synaptic.cluster.backend import Backend, Device, Kind, State
from synaptic.cluster.handshake import Version
from synaptic.cluster.pool import Pool
from synaptic.discovery.presence import Presence
from synaptic.discovery.targets import Interface
from synaptic.endpoint import Endpoint
from synaptic.events import Bus, ChildChanged, Noticed

pytestmark = pytest.mark.anyio
LOOPBACK = Interface("lo", IPv4Address("127.0.0.1"), IPv4Network("127.0.0.0/8"))
LAN = Interface("lan0", IPv4Address("10.77.0.1"), IPv4Network("10.77.0.0/24"))  # is no interface of this machine: nothing is sent there
DOCKER = Interface("docker0", IPv4Address("172.17.0.1"), IPv4Network("172.17.0.0/16"))
PUBLIC = Interface("wan0", IPv4Address("93.184.216.34"), IPv4Network("93.184.216.0/24"))
A, EVERYWHERE = Endpoint("10.77.0.1", 50052), Endpoint("0.0.0.0", 50053)
NO_ZEROCONF = "cannot announce by zeroconf: no interface to use"


class World:
    """`running`: our workers and their pids; None: announce is off. Every worker that is asked is idle."""

    def __init__(self, agent: int | None, *interfaces: Interface) -> None:
        self.bus = Bus()
        self.running: Mapping[Endpoint, int] | None = {}
        self.pool = Pool(self.bus, shake=self._shake)
        variables = {"CONSUL_HTTP_ADDR": f"127.0.0.1:{agent}"} if agent else {}
        self.dllama = Pool(self.bus, kind=Kind.DLLAMA, shake=self._shake)
        self.presence = Presence(
            self.bus, self.pool, lambda: self.running, variables, dllama=self.dllama, interfaces=lambda: interfaces, seldom=0.0
        )

    def run(self, *workers: Endpoint) -> None:
        self.running = dict.fromkeys(workers, 0)
        self.pool.set_known((worker, "local") for worker in workers)
        self.presence.look()

    @property
    def said(self) -> list[str]:
        return [event.text for event in self.bus.history if isinstance(event, Noticed)]

    async def _shake(self, endpoint: Endpoint, *, within: float, speaks: Version | None) -> Backend:
        return Backend(endpoint, Kind.RPC, State.IDLE, "7.0.0", (Device("RPC0", 1 << 30, 2 << 30),))


@contextlib.asynccontextmanager
async def world(agent: int | None, *interfaces: Interface) -> AsyncIterator[World]:
    made = World(agent, *interfaces)
    try:
        async with asyncio.timeout(30):
            yield made
    finally:
        await made.presence.close()


def listed(port: int, service: str = "llama-rpc") -> dict[str, dict[str, str]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/health/service/{service}?passing=1") as answer:
        services = [entry["Service"] for entry in json.load(answer)]
    return {f"{each['Address']}:{each['Port']}": each["Meta"] for each in services}


async def until_listed(port: int, *names: str, **meta: str) -> None:
    """Returns when exactly these are listed, and of the first of them, this."""
    while list(now := await asyncio.to_thread(listed, port)) != list(names) or (names and not now[names[0]].items() >= meta.items()):
        await asyncio.sleep(0.01)


async def test_what_becomes_known_of_a_worker_is_told(launch):
    fake = launch("consulfake.py")
    async with world(fake.port, LOOPBACK, LAN) as here:
        here.run(A)
        await until_listed(fake.port, str(A), role="worker")
        assert "proto" not in listed(fake.port)[str(A)]
        await here.pool.check()
        await until_listed(fake.port, str(A), proto="7.0.0", devs="1", mem_mib="2048", state="idle")
        here.pool.hold([A], "a coordinator")
        await until_listed(fake.port, str(A), state="busy")
        here.pool.release("a coordinator")
        await until_listed(fake.port, str(A), state="idle")
    assert listed(fake.port) == {}


async def test_a_worker_for_distributed_llama_is_told_as_one(launch):
    fake = launch("consulfake.py")
    async with world(fake.port, LOOPBACK, LAN) as here:
        here.dllama.add([A], "local")
        here.running = {A: 0}
        here.presence.look()
        while str(A) not in (now := await asyncio.to_thread(listed, fake.port, "dllama-worker")):
            await asyncio.sleep(0.01)
        assert now[str(A)].items() >= {"engine": "synaptic", "role": "worker"}.items()
        assert listed(fake.port) == {}, "nobody may take it for an rpc-server"
    assert listed(fake.port, "dllama-worker") == {}


async def test_what_others_cannot_reach_they_are_not_told_of(launch):
    fake = launch("consulfake.py")
    async with world(fake.port, LOOPBACK, DOCKER, PUBLIC, LAN) as here:
        elsewhere = [Endpoint(host, 50051) for host in ("127.0.0.1", "172.17.0.1", "93.184.216.34", "10.99.0.1", "box.invalid")]
        here.run(*elsewhere, EVERYWHERE)
        await until_listed(fake.port, "10.77.0.1:50053")
        here.run(*elsewhere)
        await until_listed(fake.port)


async def test_a_worker_that_dies_and_comes_back_goes_and_comes(launch):
    fake = launch("consulfake.py")
    async with world(fake.port, LAN) as here:
        here.run(A)
        await until_listed(fake.port, str(A))
        here.running = {}
        here.bus.publish(ChildChanged(child=f"worker {A}", before="ready", after="failed"))
        await until_listed(fake.port)
        here.running = {A: 0}
        here.bus.publish(ChildChanged(child=f"worker {A}", before="starting", after="ready"))
        await until_listed(fake.port, str(A))


async def test_who_stops_announcing_is_off_the_list(launch):
    fake = launch("consulfake.py")
    async with world(fake.port, LAN) as here:
        here.run(A)
        await until_listed(fake.port, str(A))
        here.running = None
        here.presence.look()
        await until_listed(fake.port)


async def test_zeroconf_that_fails_is_told_of_once_and_keeps_consul_from_nothing(launch):
    fake = launch("consulfake.py")
    async with world(fake.port, LAN) as here:
        for _ in range(3):
            here.run(A)
            await here.presence.settled()
        await until_listed(fake.port, str(A))
    assert here.said == [NO_ZEROCONF]


async def test_who_does_not_announce_tells_nobody_and_hears_consul_all_the_same(launch):
    fake = launch("consulfake.py")
    async with world(fake.port, LAN) as here:
        here.running = None
        here.pool.set_known([(EVERYWHERE, "local")])
        here.presence.look()
        for _ in range(2):
            assert (await asyncio.to_thread(fake.line)).startswith("GET /v1/health/service/llama-rpc")
        with here.bus.subscribe(Noticed) as notices:
            ours, another = "llama-rpc=10.77.0.1:50053", "llama-rpc=10.77.0.2:50053"
            fake.process.stdin.write(f"add {ours}\nadd {another}\n")
            fake.process.stdin.flush()
            async for notice in notices:
                assert notice.text == "consul knows a new worker 10.77.0.2:50053   try: rpc add 10.77.0.2:50053"
                break
    assert len(here.said) == 1
    assert here.pool.record(Endpoint("10.77.0.2", 50053)) is None


async def test_without_consul_and_announce_it_is_silent():
    async with world(None, LAN) as here:
        here.running = None
        here.presence.look()
        await here.presence.settled()
    assert here.said == []


async def test_an_address_that_is_none_is_told_of_once():
    async with world(None, LOOPBACK) as here:
        bad = Presence(here.bus, here.pool, lambda: None, {"CONSUL_HTTP_ADDR": "ftp://127.0.0.1"}, interfaces=lambda: [LOOPBACK])
        with here.bus.subscribe(Noticed) as notices:
            bad.look()
            bad.look()
            async for notice in notices:
                assert notice.text.startswith("CONSUL_HTTP_ADDR is no address of an agent; write host:port")
                break
        await bad.close()
    assert len(here.said) == 1


async def test_closed_it_tells_nothing_any_more(launch):
    fake = launch("consulfake.py")
    async with world(fake.port, LAN) as here:
        here.run(A)
        await until_listed(fake.port, str(A))
        await here.presence.close()
        here.run(A, EVERYWHERE)
        await here.pool.check()
        assert listed(fake.port) == {}


async def test_a_worker_of_ours_ends_at_a_real_agent_with_the_shell(real_agent):
    async with world(real_agent, LAN) as here:
        here.run(A)
        await here.pool.check()
        await until_listed(real_agent, str(A), proto="7.0.0", state="idle")
    assert listed(real_agent) == {}
    assert here.said == [NO_ZEROCONF]
