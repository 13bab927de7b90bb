"""
Health rounds: while a shell lives, every known rpc worker is looked at every five seconds, without a word to it.

A look is half-open (see sweep): the worker does not notice. It tells that the machine and its listener live, no more;
so a worker that came back gets one handshake before it is ready again, and one that nobody asked yet is down
when nothing listens there. Where half-open is not to be had, idle workers get a handshake each minute instead.

A worker that is busy for someone else is looked at like any other, and not asked. That it is free again would be told
by a connection that waits in its queue (half-closed and without a word, so that it costs the worker nothing whenever
it comes to it), but the queue has two places: one is taken by the question that found it busy, which stays there
until the worker is free, though we left. A second one of ours fills it, and then every other look at the port is
dropped: to its owner the worker would seem dead in the middle of an answer. `rpc check` asks, when a person wants it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from synaptic.cluster.backend import State
from synaptic.cluster.pool import Pool, Record
from synaptic.discovery.health import Health, Step
from synaptic.discovery.limits import Limits
from synaptic.discovery.sweep import IS_HALF_OPEN, Host, Probe, Sweep, host_of
from synaptic.endpoint import Endpoint
from synaptic.errors import SynapticError

EVERY = 5.0
JITTER = 0.2  # of EVERY, so that many shells do not look in step
SOON = 1.0  # after a bad look
SELDOM = 60.0  # where every look is a handshake
GAP = 3.0  # seconds more than planned: we were stopped, or the machine slept
NAME_WITHIN = 2.0
_LIMITS = Limits(at_once=64)
_logger = logging.getLogger(__name__)

Troubles = Mapping[Endpoint, str]  # what is wrong with each; empty for an open port; not in it: no look was possible
Look = Callable[[Mapping[Endpoint, Host]], Awaitable[Troubles]]  # takes the address of each


class Rounds:
    """`clock` runs steadily, also while the machine sleeps. `look` is None where ports cannot be looked at without harm.

    `after` is called at the end of each round.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        look: Look | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._look = look
        self._clock = clock
        self._sleep = sleep
        self._after = after
        self._health: dict[Endpoint, Health] = {}
        self._addresses: dict[Endpoint, Host | None] = {}
        self._ended = clock()  # the last round
        self._pause = 0.0  # what we meant to wait since
        self._names_asked = clock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Once; needs a running loop."""
        if self._task is None:
            self._task = asyncio.create_task(self.run())

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task:
            task.cancel()
            await asyncio.wait([task])

    async def run(self) -> None:
        """Until cancelled."""
        self._ended = self._clock()
        while True:
            await self.turn()

    async def turn(self) -> None:
        """Wait, then look at every known worker once."""
        self._pause = self.pause()
        await self._sleep(self._pause)
        await self._round()

    def pause(self) -> float:
        """Seconds until the next round."""
        if self._look is None:
            return SELDOM
        if any(health.is_doubtful for health in self._health.values()):
            return SOON
        return EVERY * random.uniform(1 - JITTER, 1 + JITTER)

    async def twins(self) -> dict[Endpoint, Endpoint]:
        """Workers that are another known one by a second address → that other one, the first known."""
        from synaptic.discovery.interfaces import own_addresses

        known = [record.endpoint for record in self._pool.records()]
        if len(known) == len({endpoint.port for endpoint in known}):
            return {}
        await self._resolve(known)
        return twins(self._resolved(known), own_addresses())

    async def _round(self) -> None:
        records = {record.endpoint: record for record in self._pool.records()}
        for gone in self._health.keys() - records.keys():
            del self._health[gone]
            self._addresses.pop(gone, None)
        if records:
            await (self._look_at(records) if self._look else self._pool.check())
            self._after()
        self._ended = self._clock()

    async def _look_at(self, records: Mapping[Endpoint, Record]) -> None:
        assert self._look
        await self._resolve(records)
        try:
            troubles = await self._look(self._resolved(records))
        except SynapticError as error:  # this machine has no socket left: that says nothing about a worker
            _logger.warning("no health round: %s", error)
            return
        now = self._clock()
        after_gap = now - self._ended > self._pause + GAP
        due = [endpoint for endpoint, trouble in troubles.items() if self._judge(endpoint, trouble, now, after_gap=after_gap)]
        await asyncio.gather(*(self._readmit(endpoint) for endpoint in due))

    def _judge(self, endpoint: Endpoint, trouble: str, now: float, *, after_gap: bool) -> bool:
        """Whether it is due for a handshake."""
        record = self._pool.record(endpoint)
        if record is None:  # forgotten while we looked
            return False
        health = self._health.setdefault(endpoint, Health(is_lost=_is_lost(record), is_unasked=record.state is State.UNVERIFIED))
        if health.is_lost and not _is_lost(record):  # someone else asked it, and it answered
            health.admitted(now)
        elif _is_lost(record):  # or it did not
            health.is_lost = True
        is_held = self._pool.holder(endpoint) is not None
        others = any(each.endpoint != endpoint and each.health == "ready" for each in self._pool.records())
        verdict = health.look(now, trouble, has_substitute=others and not is_held, after_gap=after_gap)
        if verdict.step is Step.LOSE:
            self._addresses.pop(endpoint, None)  # a name may mean another address by now
            self._pool.witness(endpoint, is_open=False, detail=verdict.detail, rest=verdict.rest)
        return verdict.step is Step.SHAKE

    async def _readmit(self, endpoint: Endpoint) -> None:
        self._pool.witness(endpoint, is_open=True)
        (answer,) = await self._pool.check([endpoint])
        health = self._health[endpoint]
        if answer.is_ready:
            health.admitted(self._clock())
        else:
            health.refused(self._clock())

    async def _resolve(self, endpoints: Iterable[Endpoint]) -> None:
        """Find the address of each that has none yet. A name that nobody knows is asked for again a minute later."""
        if self._clock() - self._names_asked > SELDOM:
            self._addresses = {endpoint: address for endpoint, address in self._addresses.items() if address is not None}
            self._names_asked = self._clock()
        new = [endpoint for endpoint in endpoints if endpoint not in self._addresses]
        self._addresses.update(zip(new, await asyncio.gather(*map(address_of, new)), strict=True))

    def _resolved(self, endpoints: Iterable[Endpoint]) -> dict[Endpoint, Host]:
        return {endpoint: address for endpoint in endpoints if (address := self._addresses.get(endpoint)) is not None}


def twins(addresses: Mapping[Endpoint, Host], own: set[Host]) -> dict[Endpoint, Endpoint]:
    """`own`: the addresses of this machine, all of which are one."""
    first: dict[tuple[Host | None, int], Endpoint] = {}
    found: dict[Endpoint, Endpoint] = {}
    for endpoint, address in addresses.items():
        place = (None if address in own else address, endpoint.port)
        if place in first:
            found[endpoint] = first[place]
        first.setdefault(place, endpoint)
    return found


async def look(addresses: Mapping[Endpoint, Host]) -> Troubles:
    """Half-open, all at once, in a thread. Raises SynapticError when this machine opens no more sockets."""
    opened: set[Probe] = set()
    probes = {endpoint: (address, endpoint.port) for endpoint, address in addresses.items()}
    sweep = Sweep(iter(list(dict.fromkeys(probes.values()))), _LIMITS, opened.add)
    try:
        await asyncio.to_thread(sweep.run)
    finally:
        sweep.stop()
    return {endpoint: "" if probe in opened else _trouble(probe, sweep) for endpoint, probe in probes.items()}


def steadily() -> float:
    """Seconds that also pass while the machine sleeps; setting the time of day does not move them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def rounds(pool: Pool, *, after: Callable[[], None] = lambda: None) -> Rounds:
    """As this system allows."""
    return Rounds(pool, look=look if IS_HALF_OPEN else None, clock=steadily, after=after)


def _is_lost(record: Record) -> bool:
    """A busy one is not: only its holder knows when it is free, and each question would lie in its queue until then."""
    return record.state in (State.UNREACHABLE, State.UNVERIFIED) or (record.state is State.IN_USE and record.health == "lost")


def _trouble(probe: Probe, sweep: Sweep) -> str:
    if probe[0] in sweep.blocked:
        return "this machine has no way to it"
    return "its machine answers, no worker listens there" if probe[0] in sweep.up else "its machine does not answer"


async def address_of(endpoint: Endpoint) -> Host | None:
    """Of IPv4 where there is one: llama-server speaks nothing else."""
    if (host := host_of(endpoint.host)) is not None:
        return host
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, TimeoutError, UnicodeError):
            async with asyncio.timeout(NAME_WITHIN):
                loop = asyncio.get_running_loop()
                found = await loop.getaddrinfo(endpoint.host, endpoint.port, family=family, type=socket.SOCK_STREAM)
                return host_of(str(found[0][4][0]))
    return None
