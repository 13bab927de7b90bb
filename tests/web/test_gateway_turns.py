"""Who comes next at a coordinator that answers few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from synaptic.web.gateway.refusal import NotNowError
from synaptic.web.gateway.turns import Turns

pytestmark = pytest.mark.anyio


class Clients:
    """Requests that hold their turn until they are let go; `order` is who got one."""

    def __init__(self, turns: Turns, slots: int = 1) -> None:
        self.turns = turns
        self.slots = slots
        self.order: list[str] = []
        self.over: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str) -> None:
        """`name` begins with the client's letter."""
        self.over[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name))
        before = self.turns.waiting("demo"), len(self.order)
        while before == (self.turns.waiting("demo"), len(self.order)):
            await asyncio.sleep(0)

    async def finish(self, name: str) -> None:
        self.over[name].set()
        await self.tasks[name]

    async def leave(self, name: str) -> None:
        self.tasks[name].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.tasks[name]

    async def _hold(self, name: str) -> None:
        async with self.turns.turn("demo", self.slots, name[0]):
            self.order.append(name)
            await self.over[name].wait()


async def test_clients_come_in_turn_however_many_requests_one_of_them_has() -> None:
    clients = Clients(Turns())
    for name in ("a1", "a2", "a3", "a4", "b1", "c1"):
        await clients.ask(name)
    for name in ("a1", "a2", "b1", "c1", "a3", "a4"):
        assert clients.order[-1] == name
        await clients.finish(name)
        await asyncio.sleep(0)
    assert clients.turns.waiting("demo") == 0


async def test_as_many_answer_as_there_are_slots() -> None:
    clients = Clients(Turns(), slots=2)
    for name in ("a1", "a2", "a3"):
        await clients.ask(name)
    assert clients.order == ["a1", "a2"]
    await clients.finish("a2")
    while len(clients.order) < 3:
        await asyncio.sleep(0)
    await clients.finish("a1")
    await clients.finish("a3")


async def test_one_that_leaves_the_line_is_passed_over() -> None:
    clients = Clients(Turns())
    for name in ("a1", "b1", "c1"):
        await clients.ask(name)
    await clients.leave("b1")
    await clients.finish("a1")
    await asyncio.sleep(0)
    assert clients.order == ["a1", "c1"]
    await clients.finish("c1")


async def test_one_that_leaves_in_the_moment_of_its_turn_hands_it_on() -> None:
    clients = Clients(Turns())
    async with clients.turns.turn("demo", 1, "a") as over:
        await clients.ask("b1")
        await clients.ask("c1")
        over()
        clients.tasks["b1"].cancel()
    await asyncio.wait([clients.tasks["b1"]])
    await asyncio.sleep(0)
    assert clients.order == ["c1"]
    await clients.finish("c1")
    assert clients.turns.waiting("demo") == 0


async def test_too_many_are_told_to_come_back() -> None:
    clients = Clients(Turns(most=3, most_of_one=2))
    await clients.ask("a1")
    await clients.ask("a2")
    with pytest.raises(NotNowError, match="of yours") as mine:
        async with clients.turns.turn("demo", 1, "a"):
            pass
    await clients.ask("b1")
    with pytest.raises(NotNowError, match="3 requests are waiting") as all_of_them:
        async with clients.turns.turn("demo", 1, "c"):
            pass
    assert (mine.value.status, all_of_them.value.status) == (429, 503)
    for name in ("a1", "a2", "b1"):
        await clients.finish(name)


async def test_what_is_over_no_longer_counts() -> None:
    turns = Turns(most_of_one=1)
    for _ in range(3):
        async with turns.turn("demo", 2, "a"):
            with pytest.raises(NotNowError, match="of yours"):
                async with turns.turn("demo", 2, "a"):
                    pass


class Named(str):
    """A name whose end can be seen."""


async def test_neither_place_nor_client_is_remembered() -> None:
    turns, place, client = Turns(), Named("demo"), Named("a")
    known = [weakref.ref(place), weakref.ref(client)]
    async with turns.turn(place, 1, client):
        assert turns.running(place) == 1
    del place, client
    gc.collect()
    assert [each() for each in known] == [None, None]


async def test_one_that_is_slow_to_leave_ends_no_line_but_its_own() -> None:
    turns = Turns()
    async with turns.turn("demo", 1, "a"):
        leaving = asyncio.create_task(_take(turns))
        await asyncio.sleep(0)
        leaving.cancel()
    async with turns.turn("demo", 1, "b"):
        await asyncio.wait([leaving])
        assert turns.running("demo") == 1
        waiting = asyncio.create_task(_take(turns))
        await asyncio.sleep(0)
        assert turns.waiting("demo") == 1
    await waiting


async def test_a_turn_may_end_before_its_request_does() -> None:
    turns = Turns()
    async with turns.turn("demo", 1, "a") as over:
        over()
        async with turns.turn("demo", 1, "b"):
            waiting = asyncio.create_task(_take(turns))
            await asyncio.sleep(0)
            over()  # once only: it is not the other's turn that ends
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting
    assert turns.waiting("demo") == 0


async def _take(turns: Turns) -> None:
    async with turns.turn("demo", 1, "c"):
        pass
