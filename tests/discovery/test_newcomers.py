"""Workers that turn up while a shell lives are proposed, once each, and never added."""

from __future__ import annotations

import asyncio

import pytest

from synaptic.cluster.backend import Kind
from synaptic.discovery.complaints import Complaints
from synaptic.discovery.consul_answers import Access
from synaptic.discovery.newcomers import Newcomers
from synaptic.endpoint import Endpoint
from synaptic.events import Bus, Noticed

pytestmark = pytest.mark.anyio
A, B, C = (Endpoint(f"10.77.0.{last}", 50052) for last in (1, 2, 3))


@pytest.fixture
def bus() -> Bus:
    return Bus()


def said(bus: Bus) -> list[str]:
    return [event.text for event in bus.history if isinstance(event, Noticed)]


def test_one_that_turns_up_is_proposed_with_the_command_that_adds_it(bus):
    newcomers = Newcomers(bus, is_known=lambda endpoint: False)
    newcomers.heard("consul", [A], is_news=True)
    newcomers.heard("zeroconf", [B, C, B], is_news=True)
    assert said(bus) == [
        f"consul knows a new worker {A}   try: rpc add {A}",
        f"zeroconf knows 2 new workers: {B}, {C}   try: rpc add {B} {C}",
    ]


def test_one_for_distributed_llama_is_proposed_with_its_own_command(bus):
    Newcomers(bus, is_known=lambda endpoint: False).heard("zeroconf", [A], is_news=True, kind=Kind.DLLAMA)
    assert said(bus) == [f"zeroconf knows a new worker {A}   try: dllama add {A}"]


def test_it_is_proposed_once_and_not_when_it_was_there_before_or_is_known(bus):
    newcomers = Newcomers(bus, is_known=lambda endpoint: endpoint == C)
    newcomers.heard("consul", [A], is_news=False)
    newcomers.heard("consul", [A, B, C], is_news=True)
    newcomers.heard("consul", [], is_news=True)
    newcomers.heard("consul", [A, B, C], is_news=True)
    newcomers.heard("zeroconf", [A, B, C], is_news=True)
    assert said(bus) == [f"consul knows a new worker {B}   try: rpc add {B}"]


def test_of_many_some_are_named_and_who_makes_them_up_is_not_listened_to(bus):
    newcomers = Newcomers(bus, is_known=lambda endpoint: False)
    newcomers.heard("consul", [Endpoint("10.77.0.1", port) for port in range(1, 61)], is_news=True)
    newcomers.heard("consul", [B], is_news=True)
    named = ", ".join(f"10.77.0.1:{port}" for port in range(1, 5))
    assert said(bus) == [f"consul knows 60 new workers: {named} and 56 more   try: rpc discover"]


async def test_consul_is_followed(launch, bus):
    fake = launch("consulfake.py", "--service", f"llama-rpc={A}")
    following = asyncio.create_task(Newcomers(bus, lambda _: False).follow(Access(f"http://127.0.0.1:{fake.port}"), Complaints(bus)))
    for _ in range(2):
        assert (await asyncio.to_thread(fake.line)).startswith("GET /v1/health/service/llama-rpc")  # the second waits for a change
    async with asyncio.timeout(20):
        with bus.subscribe(Noticed) as notices:
            fake.process.stdin.write(f"add llama-rpc=8.8.8.8:50052\nadd llama-rpc={B}\n")
            fake.process.stdin.flush()
            async for notice in notices:
                assert notice.text == f"consul knows a new worker {B}   try: rpc add {B}"
                break
    following.cancel()
    await asyncio.wait([following])


async def test_a_consul_that_fails_is_told_of_once(launch, bus):
    fake = launch("consulfake.py", "--mode", "refusing")
    following = asyncio.create_task(Newcomers(bus, lambda _: False).follow(Access(f"http://127.0.0.1:{fake.port}"), Complaints(bus)))
    for _ in range(3):
        await asyncio.to_thread(fake.line)
    following.cancel()
    await asyncio.wait([following])
    (text,) = said(bus)
    assert text.startswith(f"consul at http://127.0.0.1:{fake.port} answered 500")
