"""Health rounds: what died is lost, what came back is used again, nobody is harmed, and a stopped clock blames no one."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import socket
import subprocess

import pytest

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.handshake import shake
from synaptic.cluster.pool import Pool, Version
from synaptic.discovery.health import CALM, FALL, LONGEST, RISE, STEP, UNANSWERED, Health, Step
from synaptic.discovery.rounds import EVERY, SOON, Rounds, look, steadily, twins
from synaptic.discovery.sweep import IS_HALF_OPEN
from synaptic.endpoint import Endpoint
from synaptic.events import BackendChecked, Bus

half_open = pytest.mark.skipif(not IS_HALF_OPEN, reason="elsewhere idle workers get a handshake a minute")
A, B = Endpoint("127.0.7.1", 50052), Endpoint("127.0.7.2", 50052)
BAD, GOOD = "its machine does not answer", ""


def steps(health: Health, looks: str, *, start: float = 0.0, every: float = 5.0, has_substitute: bool = True) -> list[Step]:
    """`looks`: x bad, o good."""
    return [
        health.look(start + every * n, BAD if each == "x" else GOOD, has_substitute=has_substitute).step for n, each in enumerate(looks)
    ]


@pytest.mark.parametrize("looks", ["".join(row) for row in itertools.product("ox", repeat=8)])
@pytest.mark.parametrize("has_substitute", [True, False])
def test_a_worker_is_lost_exactly_when_it_fell_or_flapped(looks, has_substitute):
    drops = [n for n in range(8) if looks[n] == "x" and (n == 0 or looks[n - 1] == "o")]
    fell = [n for n in range(8) if looks[: n + 1].endswith("x" * FALL)]
    flapped = drops[FALL - 1 :] if has_substitute else []
    health = Health()
    done = steps(health, looks, has_substitute=has_substitute)
    assert (done.index(Step.LOSE) if Step.LOSE in done else None) == min(fell + flapped, default=None)
    assert done.count(Step.LOSE) <= 1


@pytest.mark.parametrize("looks", ["".join(row) for row in itertools.product("ox", repeat=6)])
def test_a_lost_worker_is_asked_after_two_good_looks_in_a_row(looks):
    due = [n for n in range(6) if looks[: n + 1].endswith("o" * RISE)]
    done = steps(Health(is_lost=True), looks)
    assert [n for n, step in enumerate(done) if step is Step.SHAKE] == due


@pytest.mark.parametrize("looks", ["".join(row) for row in itertools.product("ox", repeat=8)])
def test_one_that_nobody_asked_yet_is_given_up_once_and_asked_as_a_lost_one_is(looks):
    fell = [n for n in range(8) if looks[: n + 1].endswith("x" * FALL)]
    due = [n for n in range(8) if looks[: n + 1].endswith("o" * RISE)]
    done = steps(Health(is_unasked=True), looks)
    assert [n for n, step in enumerate(done) if step is Step.LOSE] == fell[:1]
    assert [n for n, step in enumerate(done) if step is Step.SHAKE][:1] == due[:1]


def lose(health: Health, now: float) -> float:
    """Seconds it is left out for."""
    verdicts = [health.look(now + n, BAD, has_substitute=True) for n in range(FALL)]
    assert [verdict.step for verdict in verdicts] == [Step.NOTHING] * (FALL - 1) + [Step.LOSE]
    return verdicts[-1].rest


def test_each_loss_costs_more_until_the_most_and_calm_forgives():
    health, now, rests = Health(), 0.0, []
    for _ in range(14):
        rests.append(lose(health, now))
        now += FALL + rests[-1]
        health.admitted(now)
    assert rests == [min(STEP * n, LONGEST) for n in range(14)]
    assert lose(health, now + CALM) == 0


def test_one_that_is_left_out_is_not_asked_before_its_time_unless_it_is_the_last():
    health = Health()
    lose(health, 0)
    health.admitted(10)
    assert lose(health, 20) == STEP  # lost at 22
    assert steps(health, "ooooo", start=25) == [Step.NOTHING] * 5
    assert steps(health, "o", start=52) == [Step.SHAKE]
    assert steps(health, "o", start=46, has_substitute=False) == [Step.SHAKE]


def test_an_open_port_that_failed_its_handshake_is_left_alone_unless_it_was_gone_meanwhile():
    health = Health(is_lost=True)
    health.refused(0)
    assert steps(health, "oooo", start=5) == [Step.NOTHING] * 4
    assert steps(health, "o", start=UNANSWERED) == [Step.SHAKE]
    health.refused(60)
    assert steps(health, "xoo", start=65) == [Step.NOTHING, Step.NOTHING, Step.SHAKE]


@pytest.mark.parametrize("before", range(FALL))
def test_after_a_gap_looks_start_anew(before):
    health = Health()
    steps(health, "x" * before)
    assert health.look(60, BAD, has_substitute=True, after_gap=True).step is Step.NOTHING
    assert health.is_doubtful
    assert steps(health, "xx", start=61) == [Step.NOTHING, Step.LOSE]


class World:
    """Ports that are open or not, workers that answer, and a clock that only `sleep` moves."""

    def __init__(self, *known: Endpoint, can_look: bool = True) -> None:
        self.now = 1000.0
        self.trouble: dict[Endpoint, str] = dict.fromkeys(known, GOOD)
        self.asked: list[Endpoint] = []
        self.looked: list[float] = []
        self.flapping: Endpoint | None = None
        self.look_takes = self.oversleeps = 0.0
        self.bus = Bus()
        self.pool = Pool(self.bus, shake=self.shake, clock=lambda: self.now)
        self.pool.add(known, "configured")
        self.rounds = Rounds(self.pool, look=self.look if can_look else None, clock=lambda: self.now, sleep=self.sleep)

    async def shake(self, endpoint: Endpoint, *, within: float, speaks: Version | None) -> Backend:
        self.asked.append(endpoint)
        return Backend(endpoint, Kind.RPC, State.UNREACHABLE if self.trouble[endpoint] else State.IDLE, "7.0.0")

    async def look(self, addresses):
        self.looked.append(self.now)
        self.now += self.look_takes
        flaps = {self.flapping: BAD if int(self.now / 3) % 2 else GOOD}  # up 3 s, down 3 s
        return {endpoint: flaps.get(endpoint, self.trouble[endpoint]) for endpoint in addresses}

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self.oversleeps

    async def pass_by(self, seconds: float) -> None:
        """What the loop does, for so long."""
        until = self.now + seconds
        while self.now < until:
            await self.rounds.turn()

    def state(self, endpoint: Endpoint) -> tuple[State, str]:
        record = self.pool.record(endpoint)
        assert record
        return record.state, record.health


@pytest.fixture
async def world():
    world = World(A, B)
    await world.pool.check()
    world.asked.clear()
    return world


@pytest.mark.anyio
async def test_a_good_worker_is_never_spoken_to(world):
    await world.pass_by(3600)
    assert world.asked == []
    assert [world.state(each) for each in (A, B)] == [(State.IDLE, "ready")] * 2
    gaps = [b - a for a, b in itertools.pairwise(world.looked)]
    assert 0.8 * EVERY <= min(gaps) < EVERY < max(gaps) <= 1.2 * EVERY


@pytest.mark.anyio
@pytest.mark.parametrize("round_", range(20))
async def test_an_idle_one_that_dies_is_lost_within_ten_seconds_and_comes_back(world, round_):
    world.trouble[A] = BAD
    died = world.now
    while world.state(A)[0] is State.IDLE:
        await world.pass_by(0.1)
    assert world.now - died <= 10
    assert world.state(A) == (State.UNREACHABLE, "lost")
    await world.pass_by(60)
    assert world.asked == []
    world.trouble[A] = GOOD
    await world.pass_by(2.5 * EVERY)
    assert (world.asked, world.state(A)) == ([A], (State.IDLE, "ready"))


@pytest.mark.anyio
async def test_one_that_was_never_asked_and_is_closed_is_down_within_ten_seconds_and_used_once_it_is_there():
    world = World(A, B)
    world.trouble[A] = BAD
    await world.pass_by(10)
    assert (world.state(A), world.asked) == ((State.UNREACHABLE, "down"), [B])
    assert [each.detail for each in world.pool.records() if each.endpoint == A] == [BAD]
    world.trouble[A] = GOOD
    await world.pass_by(2.5 * EVERY)
    assert (world.state(A), world.asked) == ((State.IDLE, "ready"), [B, A])


@pytest.mark.anyio
async def test_one_that_was_never_asked_and_that_our_coordinator_holds_is_not_asked():
    world = World(A)
    world.pool.hold([A], "demo")
    await world.pass_by(60)
    assert (world.state(A), world.asked) == ((State.IN_USE, "ready"), [])


@pytest.mark.anyio
async def test_the_only_one_that_dies_is_lost_and_back_at_once():
    world = World(A)
    await world.pool.check()
    for _ in range(5):
        world.trouble[A] = BAD
        await world.pass_by(10)
        assert world.state(A) == (State.UNREACHABLE, "lost")
        world.trouble[A] = GOOD
        await world.pass_by(2.5 * EVERY)
        assert world.state(A) == (State.IDLE, "ready")


@pytest.mark.anyio
async def test_one_that_flaps_is_left_out_for_longer_and_longer_and_says_so(world):
    world.flapping = A
    await world.pass_by(3600)  # by now each loss costs the most
    ready, began = 0.0, world.now
    while world.now < began + 4 * 3600:
        was, before = world.state(A)[0], world.now
        await world.pass_by(0.1)
        ready += world.now - before if was is State.IDLE else 0
    assert 0 < ready < 0.25 * (world.now - began)
    assert world.state(B) == (State.IDLE, "ready")
    for was in (State.UNREACHABLE, State.IDLE):  # until it is lost anew
        while world.state(A)[0] is was:
            await world.pass_by(0.1)
    (answer,) = await world.pool.check([A])
    assert answer.detail.startswith("it comes and goes; ")
    assert "left out for" in answer.detail
    assert not answer.is_ready


@pytest.mark.anyio
async def test_the_last_one_that_flaps_is_never_left_out():
    world = World(A)
    await world.pool.check()
    world.flapping = A
    await world.pass_by(600)
    world.flapping = None
    await world.pass_by(2.5 * EVERY)
    assert world.state(A) == (State.IDLE, "ready")


@pytest.mark.anyio
@pytest.mark.parametrize("stopped_in", ["oversleeps", "look_takes"])
async def test_a_program_that_was_stopped_blames_nobody(world, stopped_in):
    await world.pass_by(30)
    world.trouble = {A: BAD, B: BAD}
    await world.rounds.turn()
    await world.rounds.turn()  # one more would be the third
    setattr(world, stopped_in, 30)
    await world.rounds.turn()
    assert [world.state(each)[0] for each in (A, B)] == [State.IDLE] * 2
    setattr(world, stopped_in, 0)
    assert world.rounds.pause() == SOON
    world.trouble = {A: GOOD, B: BAD}
    await world.pass_by(2)
    assert [world.state(each)[0] for each in (A, B)] == [State.IDLE, State.UNREACHABLE]


@pytest.mark.anyio
async def test_one_that_our_coordinator_holds_stays_held_and_is_not_spoken_to(world):
    world.pool.hold([A], "demo")
    world.trouble[A] = BAD
    await world.pass_by(10)
    assert world.state(A) == (State.IN_USE, "lost")
    record = world.pool.record(A)
    assert record
    assert record.detail == f"in use by demo, but {BAD}"
    (told,) = [
        event
        for event in world.bus.history
        if isinstance(event, BackendChecked) and event.state == "in-use" and event.detail == record.detail
    ]
    assert told.health == "lost"
    world.trouble[A] = GOOD
    await world.pass_by(2.5 * EVERY)
    assert world.state(A) == (State.IN_USE, "ready")
    assert world.asked == []


@pytest.mark.anyio
async def test_what_another_check_found_out_between_two_looks_counts(world):
    await world.pass_by(10)
    world.trouble[A] = BAD
    await world.pool.check([A])
    world.trouble[A] = GOOD
    await world.pass_by(2.5 * EVERY)
    assert world.state(A) == (State.IDLE, "ready")
    assert world.asked == [A, A]


@pytest.mark.anyio
async def test_where_ports_cannot_be_looked_at_each_minute_has_a_handshake():
    world = World(A, can_look=False)
    await world.pass_by(600)
    assert (world.asked, world.looked) == ([A] * 10, [])


@pytest.mark.anyio
async def test_nothing_is_done_while_there_are_no_workers():
    world = World()
    await world.pass_by(60)
    assert (world.looked, world.asked) == ([], [])


@pytest.mark.anyio
async def test_it_ends_when_it_is_told_to(world):
    before = asyncio.all_tasks()
    rounds = Rounds(world.pool, look=world.look, clock=lambda: world.now)
    rounds.start()
    assert len(asyncio.all_tasks() - before) == 1
    await rounds.stop()
    await rounds.stop()
    assert asyncio.all_tasks() == before


def test_one_machine_by_two_addresses_is_recognised():
    def at(host: str, port: int = 50052) -> Endpoint:
        return Endpoint(host, port)

    known = {at("127.0.0.1"): 1, at("localhost"): 1, at("192.168.7.2"): 2, at("192.168.7.2", 50053): 2, at("box"): 9, at("192.168.7.9"): 9}
    assert twins(known, {1, 2}) == {
        at("localhost"): at("127.0.0.1"),
        at("192.168.7.2"): at("127.0.0.1"),
        at("192.168.7.9"): at("box"),
    }


@pytest.mark.anyio
async def test_names_are_looked_up_to_tell_twins(free_port):
    pool = Pool(Bus())
    pool.add([Endpoint("localhost", free_port), Endpoint("127.0.0.1", free_port), Endpoint("127.0.0.2", free_port)], "configured")
    found = await Rounds(pool, look=look, clock=steadily).twins()
    assert found == {Endpoint("127.0.0.1", free_port): Endpoint("localhost", free_port)}


def real(pool: Pool) -> tuple[Rounds, list[float]]:
    """Real looks, and a clock that only waits move: `spent[0]`."""
    spent = [0.0]

    async def sleep(seconds: float) -> None:
        spent[0] += seconds

    return Rounds(pool, look=look, clock=lambda: spent[0], sleep=sleep), spent


@half_open
@pytest.mark.live
@pytest.mark.anyio
async def test_a_real_worker_that_is_killed_is_lost_within_ten_seconds_and_used_again(rpc_worker, ggml_rpc_server, pool):
    worker = rpc_worker()
    pool.add([worker.endpoint], "configured")
    assert (await pool.check())[0].is_ready
    rounds, spent = real(pool)
    await rounds.turn()
    died = spent[0]
    worker.process.kill()
    worker.process.wait()
    while pool.ready():
        await rounds.turn()
    assert spent[0] - died <= 10
    (lost,) = pool.records()
    assert (lost.health, lost.detail) == ("lost", "its machine answers, no worker listens there")
    again = [str(ggml_rpc_server), "-H", worker.endpoint.host, "-p", str(worker.endpoint.port), "-t", "1"]
    with subprocess.Popen(again, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not pool.ready():
                await rounds.turn()
        finally:
            process.kill()


@half_open
@pytest.mark.live
@pytest.mark.anyio
async def test_a_second_one_that_waits_for_a_real_busy_worker_makes_it_look_dead(rpc_worker):
    """Why a busy one is not waited for: the question that found it busy is the first."""
    worker = rpc_worker(shielded=False)
    place = {worker.endpoint: int(ipaddress.IPv4Address(worker.endpoint.host))}
    with connect(worker.endpoint) as holder:
        assert isinstance(await shake(worker.endpoint, within=0.3), Backend)
        assert await look(place) == {worker.endpoint: GOOD}
        with connect(worker.endpoint) as waiting:
            waiting.shutdown(socket.SHUT_WR)
            assert await look(place) == {worker.endpoint: BAD}
            holder.close()
            assert waiting.recv(1) == b""  # it was served, and nobody was harmed
    assert await look(place) == {worker.endpoint: GOOD}
    assert worker.process.poll() is None


@half_open
@pytest.mark.live
@pytest.mark.anyio
async def test_a_real_port_that_was_closed_from_the_start_is_down_and_its_worker_is_used_once_it_is_there(rpc_worker, pool, free_port):
    closed = Endpoint("127.0.0.1", free_port)
    pool.add([closed], "configured")
    rounds, spent = real(pool)
    while pool.records()[0].state is State.UNVERIFIED:
        assert spent[0] < 10
        await rounds.turn()
    (down,) = pool.records()
    assert (down.state, down.health, down.detail) == (State.UNREACHABLE, "down", "its machine answers, no worker listens there")
    later = rpc_worker()
    pool.add([later.endpoint], "configured")
    while not pool.ready():
        assert spent[0] < 30
        await rounds.turn()
    assert later.process.poll() is None


def connect(endpoint: Endpoint) -> socket.socket:
    return socket.create_connection((endpoint.host, endpoint.port), timeout=20)


@half_open
@pytest.mark.live
@pytest.mark.anyio
async def test_a_real_worker_without_our_shield_outlives_200_rounds(rpc_worker, pool):
    worker = rpc_worker(shielded=False)
    pool.add([worker.endpoint], "configured")
    await pool.check()
    rounds, _ = real(pool)
    for _ in range(200):
        await rounds.turn()
    assert worker.process.poll() is None
    assert (await pool.check())[0].is_ready
