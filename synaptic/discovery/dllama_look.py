"""A look at the ports of distributed-llama workers without any of them noticing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from synaptic.cluster.dllama_workers import CLOSED, SILENT
from synaptic.discovery.limits import Limits
from synaptic.discovery.rounds import address_of
from synaptic.discovery.sweep import IS_HALF_OPEN, Probe, Sweep
from synaptic.endpoint import Endpoint
from synaptic.errors import SynapticError

_LIMITS = Limits(at_once=64)


async def look(endpoints: Sequence[Endpoint]) -> Mapping[Endpoint, str]:
    """As cluster.dllama_workers.Look. Nothing, where half-open is not to be had: a whole connection ends such a worker."""
    if not IS_HALF_OPEN or not endpoints:
        return {}
    addresses = dict(zip(endpoints, await asyncio.gather(*map(address_of, endpoints)), strict=True))
    probes = {endpoint: (address, endpoint.port) for endpoint, address in addresses.items() if address is not None}
    opened: set[Probe] = set()
    sweep = Sweep(iter(list(dict.fromkeys(probes.values()))), _LIMITS, opened.add)
    try:
        await asyncio.to_thread(sweep.run)
    except SynapticError:  # this machine has no socket left: that says nothing about a worker
        return {}
    finally:
        sweep.stop()
    unknown = {endpoint: "no address is known by its name" for endpoint, address in addresses.items() if address is None}
    return unknown | {endpoint: "" if probe in opened else _trouble(probe, sweep) for endpoint, probe in probes.items()}


def _trouble(probe: Probe, sweep: Sweep) -> str:
    if probe[0] in sweep.blocked:
        return "this machine has no way to it"
    return CLOSED if probe[0] in sweep.up else SILENT
