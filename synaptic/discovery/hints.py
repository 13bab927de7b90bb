"""What others say runs here or there. Hearsay: each endpoint is asked itself before it counts."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Collection, Mapping, Sequence

from synaptic.cluster.backend import Kind
from synaptic.discovery.targets import Interface
from synaptic.endpoint import Endpoint


@dataclasses.dataclass(frozen=True)
class Hint:
    """`kind` is what the source claims, `source` one of discovery.sources."""

    endpoint: Endpoint
    kind: Kind
    source: str


@dataclasses.dataclass(frozen=True)
class Hints:
    """`notes`: a sentence for each source that could not be asked, or said something odd."""

    found: tuple[Hint, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Hints) -> Hints:
        return Hints(self.found + other.found, (*dict.fromkeys(self.notes + other.notes),))


async def hints(variables: Mapping[str, str], kinds: Collection[Kind], interfaces: Sequence[Interface] = ()) -> Hints:
    """Those of these kinds, from every source that is there; on these interfaces. Never raises for what a source does."""
    from synaptic.discovery.mdns import ask_zeroconf

    zeroconf = asyncio.create_task(ask_zeroconf(interfaces, kinds))
    try:
        return await _consul(variables, kinds) + await zeroconf
    finally:
        zeroconf.cancel()
        await asyncio.wait([zeroconf])


async def _consul(variables: Mapping[str, str], kinds: Collection[Kind]) -> Hints:
    if not variables.get("CONSUL_HTTP_ADDR"):
        return Hints()
    from synaptic.discovery.consul import ask_consul

    return await ask_consul(variables, kinds)
