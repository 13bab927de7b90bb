"""What others say runs here or there, from every source that is there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from synaptic.cluster.backend import Kind
from synaptic.discovery.consul import ask_consul
from synaptic.discovery.hint import Hints, is_far
from synaptic.discovery.mdns import ask_zeroconf
from synaptic.discovery.targets import Interface


async def hints(
    variables: Mapping[str, str], kinds: Collection[Kind], interfaces: Sequence[Interface] = (), own: Sequence[Interface] = ()
) -> Hints:
    """Those of these kinds, from every source that is there; on these interfaces. Never raises for what a source does.

    `own`: all interfaces of this machine. What is in none of their networks is far.
    """
    zeroconf = asyncio.create_task(ask_zeroconf(interfaces, kinds))
    try:
        told = await _consul(variables, kinds) + await zeroconf
    finally:
        zeroconf.cancel()
        await asyncio.wait([zeroconf])
    far = tuple(hint for hint in told.found if is_far(hint.endpoint, own))
    return Hints(tuple(hint for hint in told.found if hint not in far), told.notes, (*dict.fromkeys(told.far + far),))


async def _consul(variables: Mapping[str, str], kinds: Collection[Kind]) -> Hints:
    if not variables.get("CONSUL_HTTP_ADDR"):
        return Hints()
    return await ask_consul(variables, kinds)
