"""A profile's machines as planning takes them: what a specification says, where nothing was measured."""

from __future__ import annotations

from synaptic.deploy.profile.profile import Node, Number, Profile
from synaptic.endpoint import Endpoint
from synaptic.planning.machine import Machine
from synaptic.planning.speeds import Speed
from synaptic.results import GIB


def machines(profile: Profile) -> list[Machine]:
    """Its rpc-servers in their order, then the head's own memory. Empty: it has neither."""
    workers = [_machine(profile, node, Endpoint(profile.address(node), profile.services.rpc.port)) for node in profile.having("llama_rpc")]
    heads = {node.name: node for node in profile.having("llama_head")}
    lent = {node.name for node in profile.having("llama_rpc")}
    return workers + [_machine(profile, node, None) for name, node in heads.items() if name not in lent]


def _machine(profile: Profile, node: Node, endpoint: Endpoint | None) -> Machine:
    devices = node.kind.accelerators
    sizes = [device.mem_gib.value for device in devices] or [node.kind.mem_gib.value]
    bandwidths = [device.mem_bw_gbs for device in devices] or [node.kind.mem_bw_gbs]
    kept = 0.0 if devices else node.kind.reserve_gib.value or 0.0
    known = [round((size - kept) * GIB) for size in sizes if size is not None]
    is_known = len(known) == len(sizes)
    round_trip = (profile.network.rtt_us.value or 0.0) / 1e6 if endpoint else 0.0
    return Machine(
        endpoint,
        max(sum(known), 0) if is_known else None,
        _speed(profile, bandwidths[0], round_trip),
        round_trip,
        devices=tuple(known) if is_known and len(known) > 1 else (),
    )


def _speed(profile: Profile, bandwidth: Number, round_trip: float) -> Speed | None:
    """A measured bandwidth of memory is no more than a specification here: a model gets a part of it."""
    if bandwidth.value is None:
        return None
    gbps = profile.network.gbps.value
    return Speed(bandwidth.value * 1e9, round_trip, gbps * 1e9 / 8 if gbps else None)
