"""What the pool promises: it remembers, it says what changed, and it never asks where asking harms."""

from __future__ import annotations

import asyncio

import pytest

from synaptic.cluster.backend import Backend, Device, Kind, State
from synaptic.cluster.handshake import Foreign, Version
from synaptic.cluster.pool import Pool
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError
from synaptic.events import BackendChecked, Bus
from synaptic.results import to_json

pytestmark = pytest.mark.anyio
A, B, C = (Endpoint(f"127.0.7.{number}", 50052) for number in (1, 2, 3))
DEVICE = Device("RPC0", 5, 7)


class World:
    """Workers that answer what they are told to, and two clocks that stand still."""

    def __init__(self) -> None:
        self.answers: dict[Endpoint, Backend | Foreign] = {}
        self.asked: list[Endpoint] = []
        self.steady = 1000.0
        self.wall = 5000.0
        self.questions = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.gate.set()
        self.bus = Bus()
        self.pool = Pool(self.bus, shake=self.shake, speaks=Version(7, 0, 0), clock=lambda: self.steady, wall=lambda: self.wall)

    async def shake(self, endpoint: Endpoint, *, within: float, speaks: Version | None) -> Backend | Foreign:
        assert speaks == Version(7, 0, 0)
        self.asked.append(endpoint)
        self.questions.release()
        await self.gate.wait()
        return self.answers[endpoint]

    def says(self, endpoint: Endpoint, state: State, detail: str = "") -> None:
        is_good = state is State.IDLE
        proof = {"version": "7.0.0", "devices": (DEVICE,), "latency_ms": 1.0} if is_good else {}
        self.answers[endpoint] = Backend(endpoint, Kind.RPC, state, detail=detail, **proof)

    async def until_asked(self, times: int = 1) -> None:
        for _ in range(times):
            await self.questions.acquire()

    @property
    def heard(self) -> list[tuple[Endpoint, str]]:
        return [(event.endpoint, event.state) for event in self.bus.history if isinstance(event, BackendChecked)]


@pytest.fixture
async def world():
    return World()


async def test_known_workers_are_unverified_until_asked(world):
    world.pool.set_known([(A, "file"), (B, "env")])
    assert [(b.endpoint, b.state, b.source) for b in world.pool.backends()] == [
        (A, State.UNVERIFIED, "file"),
        (B, State.UNVERIFIED, "env"),
    ]
    assert world.pool.ready() == []
    assert world.asked == []
    assert world.heard == []


async def test_a_check_finds_those_that_are_ready(world):
    world.says(A, State.IDLE)
    world.says(B, State.UNREACHABLE, "refused")
    world.pool.set_known([(A, "file"), (B, "env")])
    checked = await world.pool.check()
    assert [(b.endpoint, b.state, b.source, b.detail) for b in checked] == [
        (A, State.IDLE, "file", ""),
        (B, State.UNREACHABLE, "env", "refused"),
    ]
    assert [b.endpoint for b in world.pool.ready()] == [A]
    assert world.heard == [(A, "idle"), (B, "unreachable")]


async def test_only_a_change_is_news(world):
    world.says(A, State.IDLE)
    world.pool.add([A], "file")
    await world.pool.check()
    await world.pool.check()
    assert world.heard == [(A, "idle")]
    world.says(A, State.UNREACHABLE)
    await world.pool.check()
    assert world.heard == [(A, "idle"), (A, "unreachable")]


async def test_all_are_asked_at_the_same_time(world):
    world.gate.clear()
    for endpoint in (A, B, C):
        world.says(endpoint, State.IDLE)
    world.pool.add([A, B, C], "file")
    checking = asyncio.create_task(world.pool.check())
    await world.until_asked(3)  # would never end if one waited for another
    world.gate.set()
    assert len(await checking) == 3


async def test_two_checks_at_once_share_one_handshake(world):
    world.gate.clear()
    world.says(A, State.IDLE)
    world.pool.add([A], "file")
    first, second = (asyncio.create_task(world.pool.check([A])) for _ in range(2))
    await world.until_asked()
    first.cancel()  # and one that gives up takes nothing from the other
    world.gate.set()
    assert [b.state for b in await second] == [State.IDLE]
    assert world.asked == [A]


async def test_a_stranger_is_answered_for_but_not_added(world):
    world.says(A, State.IDLE)
    assert [b.state for b in await world.pool.check([A])] == [State.IDLE]
    assert world.pool.backends() == []
    assert world.pool.record(A) is None
    assert world.heard == []


async def test_held_workers_are_in_use_and_never_asked(world):
    world.says(A, State.IDLE)
    world.pool.add([A, B], "file")
    await world.pool.check([A])
    world.pool.hold([A, B], "llama3.1:70b")
    checked = await world.pool.check()
    assert [(b.state, b.detail) for b in checked] == [(State.IN_USE, "in use by llama3.1:70b")] * 2
    assert (checked[0].devices, checked[0].version) == ((DEVICE,), "7.0.0")
    assert world.asked == [A]
    assert (world.pool.holder(A), world.pool.holder(C)) == ("llama3.1:70b", None)
    assert [b.endpoint for b in world.pool.ready()] == [A, B]


async def test_released_workers_are_again_what_they_proved(world):
    world.says(A, State.IDLE)
    world.pool.add([A, B], "file")
    await world.pool.check([A])
    world.pool.hold([A, B], "one")
    world.pool.release("another")
    assert world.pool.holder(A) == "one"
    world.pool.release("one")
    assert [b.state for b in world.pool.backends()] == [State.IDLE, State.UNVERIFIED]
    assert world.heard == [(A, "idle"), (A, "in-use"), (B, "in-use"), (A, "idle"), (B, "unverified")]


async def test_no_worker_has_two_owners(world):
    world.pool.hold([A], "one")
    world.pool.hold([A], "one")
    with pytest.raises(BackendError, match=r"^127\.0\.7\.1:50052 is in use by one$"):
        world.pool.hold([B, A], "two")
    assert world.pool.holder(B) is None


async def test_a_worker_taken_while_it_was_asked_stays_in_use(world):
    world.gate.clear()
    world.says(A, State.BUSY, "silent")
    world.pool.add([A], "file")
    checking = asyncio.create_task(world.pool.check())
    await world.until_asked()
    world.pool.hold([A], "one")
    world.gate.set()
    assert [b.state for b in await checking] == [State.IN_USE]
    world.pool.release("one")
    world.says(A, State.IDLE)
    assert [b.state for b in await world.pool.check()] == [State.IDLE]


async def test_a_held_worker_that_is_removed_stays_held(world):
    world.pool.add([A], "file")
    world.pool.hold([A], "one")
    world.pool.remove([A])
    assert world.pool.backends() == []
    assert [b.state for b in await world.pool.check([A])] == [State.IN_USE]
    assert world.asked == []


async def test_a_silent_one_is_left_alone_for_a_minute(world):
    world.says(A, State.BUSY, "did not answer in 1.5 s")
    world.pool.add([A], "file")
    await world.pool.check()
    world.steady += 18
    assert [b.detail for b in await world.pool.check()] == ["did not answer in 1.5 s; not asked again for 42 s"]
    assert world.asked == [A]
    world.steady += 42
    world.says(A, State.IDLE)
    assert [b.state for b in await world.pool.check()] == [State.IDLE]
    await world.pool.check()
    assert world.asked == [A, A, A]


async def test_a_silent_stranger_is_left_alone_too(world):
    world.says(A, State.BUSY, "silent")
    await world.pool.ask(A)
    answer = await world.pool.ask(A)
    assert isinstance(answer, Backend)
    assert answer.state is State.BUSY
    assert world.asked == [A]


@pytest.mark.parametrize(
    ("reason", "detail", "told"),
    [
        ("http", "HTTP server", "an HTTP server lives there, no rpc-server"),
        ("garbage", "answered something else: SSH-2.0", "no rpc-server lives there: it answered something else: SSH-2.0"),
    ],
)
async def test_a_known_worker_where_something_else_lives_is_unreachable(world, reason, detail, told):
    world.answers[A] = Foreign(A, reason, detail)
    world.pool.add([A], "file")
    assert [(b.state, b.detail) for b in await world.pool.check()] == [(State.UNREACHABLE, told)]
    assert await world.pool.ask(A) == Foreign(A, reason, detail)


async def test_what_discovery_found_is_known_without_asking_again(world):
    world.says(A, State.IDLE)
    found = await world.pool.ask(A)
    world.pool.learn([found])
    assert [b.state for b in world.pool.ready()] == [State.IDLE]
    assert world.asked == [A]
    assert world.heard == [(A, "idle")]


async def test_knowing_others_forgets_the_rest_and_keeps_what_is_known(world):
    world.says(A, State.IDLE)
    world.pool.set_known([(A, "file"), (B, "file")])
    await world.pool.check([A])
    world.pool.set_known([(C, "env"), (A, "flag")])
    assert {b.endpoint: (b.state, b.source) for b in world.pool.backends()} == {A: (State.IDLE, "flag"), C: (State.UNVERIFIED, "env")}


async def test_the_record_tells_since_when_and_when_last_seen(world):
    world.says(A, State.IDLE)
    world.pool.add([A], "file")
    await world.pool.check()
    world.wall += 10
    await world.pool.check()
    record = world.pool.record(A)
    assert (record.health, record.since, record.last_seen) == ("ready", 5000.0, 5010.0)
    world.wall += 10
    world.says(A, State.UNREACHABLE, "refused")
    await world.pool.check()
    assert to_json(world.pool.records()) == [
        {
            "endpoint": "127.0.7.1:50052",
            "kind": "rpc",
            "state": "unreachable",
            "version": "7.0.0",
            "devices": [{"name": "RPC0", "free": 5, "total": 7}],
            "latency_ms": None,
            "source": "file",
            "detail": "refused",
            "health": "lost",
            "last_seen": 5010.0,
            "since": 5020.0,
        }
    ]


@pytest.mark.parametrize(
    ("state", "health"),
    [(State.IDLE, "ready"), (State.BUSY, "busy"), (State.UNREACHABLE, "down"), (State.INCOMPATIBLE, "incompatible")],
)
async def test_health_is_a_plain_word(world, state, health):
    world.pool.add([A], "file")
    assert world.pool.record(A).health == "unknown"
    world.says(A, state)
    await world.pool.check()
    assert world.pool.record(A).health == health


async def test_real_sockets_work_the_same(rpcfake, closed_port):
    bus = Bus()
    pool = Pool(bus)
    fake = rpcfake("--devices", "3")
    pool.add([fake.endpoint, closed_port], "flag")
    assert [(b.state, len(b.devices)) for b in await pool.check()] == [(State.IDLE, 3), (State.UNREACHABLE, 0)]
    assert fake.ended() == "ended 1 complete"


async def test_a_port_that_closed_makes_a_worker_unreachable_and_it_keeps_what_it_proved(world):
    world.says(A, State.IDLE)
    world.pool.add([A], "file")
    await world.pool.check()
    world.pool.witness(A, is_open=False, detail="refused")
    world.pool.witness(B, is_open=False, detail="refused")  # not known: nothing to say
    record = world.pool.record(A)
    assert (record.state, record.health, record.detail, record.version) == (State.UNREACHABLE, "lost", "refused", "7.0.0")
    assert world.heard == [(A, "idle"), (A, "unreachable")]
    assert world.pool.record(B) is None


async def test_one_that_comes_and_goes_is_not_asked_until_its_time_is_over_or_it_is_needed(world):
    world.says(A, State.IDLE)
    world.pool.add([A], "file")
    await world.pool.check()
    world.pool.witness(A, is_open=False, detail="refused", rest=30)
    world.steady += 10
    (answer,) = await world.pool.check()
    assert (answer.state, answer.detail, len(world.asked)) == (State.UNREACHABLE, "refused; left out for 20 s", 1)
    world.pool.witness(A, is_open=True)
    assert (await world.pool.check())[0].is_ready


async def test_a_held_one_whose_port_closed_stays_held_and_is_unreachable_once_released(world):
    world.says(A, State.IDLE)
    world.pool.add([A], "file")
    await world.pool.check()
    world.pool.hold([A], "demo")
    world.pool.witness(A, is_open=False, detail="refused")
    record = world.pool.record(A)
    assert (record.state, record.health, record.detail) == (State.IN_USE, "lost", "in use by demo, but refused")
    assert world.heard == [(A, "idle"), (A, "in-use"), (A, "in-use")]
    world.pool.release("demo")
    record = world.pool.record(A)
    assert (record.state, record.health, record.detail) == (State.UNREACHABLE, "lost", "refused")
