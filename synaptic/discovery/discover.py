"""
A look around: sweep for open ports, ask only what is behind those, and tell of each find at once.

    own addresses ─▶ sweep ─▶ one per port ─┐
    known workers, then all others ─▶ sweep ─┴▶ queue ─▶ askers ─▶ found | others
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import chain

from synaptic.cluster.backend import Backend, Kind
from synaptic.cluster.handshake import Foreign
from synaptic.discovery import report
from synaptic.discovery.limits import Limits, of_this_machine
from synaptic.discovery.report import Report
from synaptic.discovery.sweep import IS_HALF_OPEN, Host, Probe, Sweep, endpoint_of, host_of, in_random_order
from synaptic.discovery.targets import Targets, numbers
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError

ASKERS = 128

Identify = Callable[[Endpoint, Kind], Awaitable[Backend | Foreign]]


async def _nobody(found: Backend) -> None:
    pass


async def _nothing() -> Sequence[Endpoint]:
    return ()


class Discovery:
    """One use. `found` hears of each find as it is made; `progressed` of how many of `total` addresses are done.

    `heard` is what others tell of in the meantime: asked last, if the sweep did not come by.
    """

    def __init__(
        self,
        targets: Targets,
        ports: Mapping[int, Kind],
        identify: Identify,
        *,
        known: Sequence[Endpoint] = (),
        heard: Callable[[], Awaitable[Sequence[Endpoint]]] = _nothing,
        limits: Limits | None = None,
        is_half_open: bool = IS_HALF_OPEN,
        found: Callable[[Backend], Awaitable[None]] = _nobody,
        progressed: Callable[[int], None] = lambda done: None,
    ) -> None:
        self._targets = targets
        self._ports = {port: kind for port, kind in ports.items() if is_half_open or kind is not Kind.DLLAMA}
        self._left_alone = [port for port in ports if port not in self._ports]
        self._identify = identify
        self._known = dict.fromkeys(_probes_of(known))
        self._heard = heard
        self._limits = limits or of_this_machine(targets.size)
        self._tell_found = found
        self._tell_progress = progressed
        self._queue: asyncio.Queue[Probe | None] = asyncio.Queue()
        self._opened: set[Host] = set()
        self._queued: set[Probe] = set()
        self._found: list[Backend] = []
        self._others: list[Foreign] = []

    async def run(self) -> Report:
        """Raises BackendError when there is no network at all. Cancelled, it leaves no socket behind."""
        if not self._targets.areas:
            raise _no_network("no interface is up with an IPv4 address")
        began = time.monotonic()
        askers = [asyncio.create_task(self._ask()) for _ in range(min(ASKERS, self._limits.at_once))]
        try:
            sweeps = [await self._sweep_own(), await self._sweep_others(), await self._sweep_heard()]
            for _ in askers:
                self._queue.put_nowait(None)
            await asyncio.gather(*askers)
        finally:
            for asker in askers:
                asker.cancel()
            await asyncio.gather(*askers, return_exceptions=True)
        return self._report(sweeps, time.monotonic() - began)

    async def _sweep_own(self) -> Sweep:
        """A server that listens everywhere answers on every address of this machine: one of them is enough."""
        opened: list[Probe] = []
        own = self._own
        known = [probe for probe in self._known if probe[0] in own]
        probes = dict.fromkeys(chain(known, ((address, port) for address in own for port in self._ports)))
        sweep = await _swept(Sweep(iter(probes), self._limits, _in_loop(opened.append)))
        first: dict[int, Probe] = {}  # by port
        for probe in sorted(opened, key=list(probes).index):
            self._opened.add(probe[0])
            if probe in self._known or probe[1] not in first:
                first.setdefault(probe[1], probe)
                self._enqueue(probe)
            else:
                self._others.append(Foreign(endpoint_of(probe), "duplicate", f"this machine too, as {endpoint_of(first[probe[1]])}"))
        return sweep

    async def _sweep_others(self) -> Sweep:
        own, total = frozenset(self._own), self._targets.size
        known = [probe for probe in self._known if probe[0] not in own]
        others = in_random_order((each for each in numbers(self._targets.areas) if each not in own), list(self._ports))
        probes = chain(known, (probe for probe in others if probe not in self._known))
        each = max(len(self._ports), 1)
        progressed = _in_loop(lambda done: self._tell_progress(min(done // each, total)))
        return await _swept(Sweep(probes, self._limits, _in_loop(self._hear), progressed))

    async def _sweep_heard(self) -> Sweep:
        others = [probe for probe in dict.fromkeys(_probes_of(await self._heard())) if probe not in self._queued]
        return await _swept(Sweep(iter(others), self._limits, _in_loop(self._hear)))

    @property
    def _own(self) -> list[int]:
        return [int(address) for address in self._targets.own if self._targets.contains(address)]

    def _hear(self, probe: Probe) -> None:
        self._opened.add(probe[0])
        self._enqueue(probe)

    def _enqueue(self, probe: Probe) -> None:
        self._queued.add(probe)
        self._queue.put_nowait(probe)

    async def _ask(self) -> None:
        while probe := await self._queue.get():
            kind = Kind.RPC if probe in self._known else self._ports.get(probe[1], Kind.RPC)
            answer = await self._identify(endpoint_of(probe), kind)
            if isinstance(answer, Foreign):
                self._others.append(answer)
            else:
                self._found.append(answer)
                await self._tell_found(answer)

    def _report(self, sweeps: Sequence[Sweep], seconds: float) -> Report:
        up = set(_numbers(address for sweep in sweeps for address in sweep.up))
        blocked = {address: sweep.blocked[address] for sweep in sweeps for address in _numbers(sweep.blocked) if address not in up}
        inside = sum(self._targets.contains(IPv4Address(address)) for address in blocked)  # of those heard of, some may be elsewhere
        if blocked and inside >= self._targets.size and set(blocked.values()) <= set(report.NO_ROUTE):
            raise _no_network(f"this machine has no route to {', '.join(map(str, self._targets.areas))}")
        networks = tuple(report.network_of(area, up, blocked, _numbers(self._opened)) for area in self._targets.areas)
        return Report(
            found=tuple(sorted(self._found, key=_by_address)),
            others=tuple(sorted(self._others, key=_by_address)),
            scanned=self._targets.size,
            seconds=round(seconds, 2),
            networks=networks,
            notes=report.notes(self._targets, networks, blocked, list(self._ports), self._left_alone),
        )


def _no_network(why: str) -> BackendError:
    return BackendError(f"no usable network: {why}", hint="name a worker: rpc add HOST, or a network: --subnet CIDR")


def _by_address(one: Backend | Foreign) -> tuple[bool, int, int]:
    host = host_of(one.endpoint.host)
    return isinstance(host, IPv6Address), int(host or 0), one.endpoint.port


def _numbers(hosts: Iterable[Host]) -> list[int]:
    """Only those of IPv4: no network that is looked through is of IPv6."""
    return [host for host in hosts if isinstance(host, int)]


def _probes_of(known: Sequence[Endpoint]) -> Iterator[Probe]:
    """Those known by their address; a name is looked up when it is used, not here."""
    for endpoint in known:
        if (host := host_of(endpoint.host)) is not None:
            yield host, endpoint.port


def _in_loop(callback: Callable[..., None]) -> Callable[..., None]:
    loop = asyncio.get_running_loop()

    def call(*values: object) -> None:
        loop.call_soon_threadsafe(callback, *values)

    return call


async def _swept(sweep: Sweep) -> Sweep:
    """However this ends, the sweep's sockets are closed by then."""
    running = asyncio.get_running_loop().run_in_executor(None, sweep.run)
    try:
        await asyncio.shield(running)
    finally:
        sweep.stop()
        await asyncio.wait([running])
    return sweep
