"""A worker whose machine got another address is proposed, once, and never by mistake for another machine."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from synaptic.cluster.backend import Backend, Kind, State
from synaptic.cluster.pool import Pool, Version
from synaptic.discovery.moved import Move, Whereabouts, moves
from synaptic.endpoint import Endpoint
from synaptic.events import Bus, Noticed
from synaptic.settings.origins import Origin

pytestmark = pytest.mark.anyio
MAC, OTHER = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
CARD, CALLED = Origin(mac=MAC), Origin(instance="zeroconf left box 50052")


def at(last: int, port: int = 50052) -> Endpoint:
    return Endpoint(f"192.168.1.{last}", port)


OLD, NEW = at(10), at(23)


@pytest.mark.parametrize(
    ("lost", "here", "why"),
    [
        ({OLD: CARD}, {NEW: CARD}, "same network card"),
        ({OLD: CALLED}, {NEW: CALLED}, "same name in zeroconf"),
        ({OLD: Origin("scan", MAC, "zeroconf a")}, {NEW: Origin("consul", MAC, "zeroconf b")}, "same network card"),
        ({OLD: Origin("", MAC, CALLED.instance)}, {NEW: Origin("", OTHER, CALLED.instance)}, "same name in zeroconf"),
        ({OLD: CARD}, {NEW: CARD, at(23, 50053): CARD}, "same network card"),
    ],
)
def test_the_same_machine_at_another_address_is_recognised(lost, here, why):
    assert moves(lost, here) == [Move(OLD, NEW, why)]


@pytest.mark.parametrize(
    ("lost", "here"),
    [
        ({OLD: Origin()}, {NEW: Origin()}),
        ({OLD: CARD}, {NEW: Origin(mac=OTHER)}),
        ({OLD: CARD}, {at(23, 50053): CARD}),
        ({OLD: CARD}, {NEW: CARD, at(24): CARD}),  # one card for two: a repeater
        ({OLD: CALLED}, {NEW: CALLED, at(24): CALLED}),
        ({OLD: CALLED}, {NEW: Origin(instance="consul left box 50052")}),
        ({Endpoint("box", 50052): CARD}, {NEW: CARD}),  # a name finds its machine itself
    ],
)
def test_nobody_else_is_taken_for_it(lost, here):
    assert moves(lost, here) == []


def test_what_to_type_depends_on_whether_the_new_address_is_known():
    move = Move(OLD, NEW, "same network card")
    assert move.sentence == (
        "192.168.1.10:50052 is probably 192.168.1.23:50052 now (same network card)"
        "   try: rpc add 192.168.1.23:50052; rpc remove 192.168.1.10:50052"
    )
    assert Move(OLD, NEW, "same network card", is_known=True).sentence.endswith("   try: rpc remove 192.168.1.10:50052")


class World:
    """Workers that answer or not, and a table of neighbours as text would give it."""

    def __init__(self, **remembered: Origin) -> None:
        self.up: set[Endpoint] = set()
        self.asked: list[Endpoint] = []
        self.remembered: dict[Endpoint, Origin] = {}
        self.neighbours: dict[IPv4Address, str] = {}
        self.bus = Bus()
        self.pool = Pool(self.bus, shake=self.shake)
        self.whereabouts = Whereabouts(self.bus, self.pool, lambda: self.remembered, lambda: self.neighbours)

    def save(self, endpoint: Endpoint, origin: Origin) -> None:
        self.remembered[endpoint] = origin
        self.pool.add([endpoint], "configured")

    def turn_on(self, endpoint: Endpoint, mac: str) -> None:
        self.up.add(endpoint)
        self.neighbours[IPv4Address(endpoint.host)] = mac

    async def shake(self, endpoint: Endpoint, *, within: float, speaks: Version | None) -> Backend:
        self.asked.append(endpoint)
        return Backend(endpoint, Kind.RPC, State.IDLE if endpoint in self.up else State.UNREACHABLE, "7.0.0")

    @property
    def told(self) -> list[str]:
        return [event.text for event in self.bus.history if isinstance(event, Noticed)]


@pytest.fixture
async def world() -> World:
    """OLD moved to NEW; both are saved."""
    world = World()
    world.save(OLD, CARD)
    world.save(NEW, Origin("scan"))
    world.turn_on(NEW, MAC)
    return world


async def test_it_is_told_by_itself_once_and_not_after_a_result_told_it(world):
    world.whereabouts.tell()
    assert world.told == []  # nobody was asked yet
    await world.pool.check()
    world.whereabouts.tell()
    world.whereabouts.tell()
    assert world.told == [Move(OLD, NEW, "same network card", is_known=True).sentence]
    again = Whereabouts(world.bus, world.pool, lambda: world.remembered, lambda: world.neighbours)
    again.told(again.now())
    again.tell()
    assert len(world.told) == 1


async def test_one_that_answers_at_both_addresses_has_not_moved(world):
    world.turn_on(OLD, MAC)
    await world.pool.check()
    assert world.whereabouts.now() == []
    (suspect,) = world.whereabouts.suspects([NEW])
    assert await world.whereabouts.confirmed([suspect], within=1) == []


async def test_a_look_around_asks_the_old_address_before_it_proposes(world):
    world.pool.remove([NEW])
    del world.remembered[NEW]
    suspects = world.whereabouts.suspects([NEW])
    assert await world.whereabouts.confirmed(suspects, within=1) == [Move(OLD, NEW, "same network card")]
    assert world.asked == [OLD]
    await world.pool.check()
    world.whereabouts.tell()
    assert world.told == []


async def test_a_held_one_that_went_dark_is_proposed_too(world):
    await world.pool.check([NEW])
    world.pool.hold([OLD], "demo")
    assert world.whereabouts.now() == []
    world.pool.witness(OLD, is_open=False, detail="its machine does not answer")
    assert [move.new for move in world.whereabouts.now()] == [NEW]


async def test_what_is_remembered_is_kept_until_something_newer_is_seen(world):
    world.remembered[OLD] = Origin("scan", MAC, "zeroconf a")
    assert world.whereabouts.marks([OLD, NEW], {NEW: "zeroconf b"}) == {
        OLD: Origin("scan", MAC, "zeroconf a"),
        NEW: Origin("scan", MAC, "zeroconf b"),
    }
    world.turn_on(OLD, MAC)  # one card for two: no longer a mark of either
    assert world.whereabouts.marks([OLD, NEW]) == {OLD: Origin("scan", "", "zeroconf a"), NEW: Origin("scan")}
    assert world.whereabouts.marks([at(99)]) == {}
