"""One thing that someone says runs somewhere. Hearsay: each endpoint is asked itself before it counts."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address

from synaptic.cluster.backend import Kind
from synaptic.discovery.targets import Interface
from synaptic.endpoint import Endpoint


@dataclasses.dataclass(frozen=True)
class Hint:
    """`kind` is what the source claims, `source` one of discovery.sources, `name` what it calls this one: foreign, on one line."""

    endpoint: Endpoint
    kind: Kind
    source: str
    name: str = dataclasses.field(default="", compare=False)
    text: tuple[tuple[str, str], ...] = dataclasses.field(default=(), compare=False)  # foreign, on one line each


@dataclasses.dataclass(frozen=True)
class Hints:
    """`notes`: a sentence for each source that could not be asked, or said something odd. `far`: not to be gone to unasked."""

    found: tuple[Hint, ...] = ()
    notes: tuple[str, ...] = ()
    far: tuple[Hint, ...] = ()

    def __add__(self, other: Hints) -> Hints:
        return Hints(self.found + other.found, (*dict.fromkeys(self.notes + other.notes),), self.far + other.far)


def is_public(endpoint: Endpoint) -> bool:
    """An IPv4 address out in the world, where nobody else may send us."""
    with contextlib.suppress(AddressValueError):
        address = IPv4Address(endpoint.host)
        return address.is_global and not (address.is_multicast or address.is_reserved)
    return False


def is_far(endpoint: Endpoint, own: Sequence[Interface]) -> bool:
    """A public IPv4 address, or one of a network that this machine is not in. Those of IPv6 are of the same link or site."""
    with contextlib.suppress(AddressValueError):
        address = IPv4Address(endpoint.host)
        return address.is_global or not (address.is_loopback or any(address in each.network for each in own if each.is_up))
    return False
