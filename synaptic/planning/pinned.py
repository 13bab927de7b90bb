"""A placement as somebody says it: so many layers on each of these machines, in this order. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from synaptic.endpoint import Endpoint
from synaptic.planning.costmodel import predict
from synaptic.planning.filling import Demand, agreed, available, fits_in, reserve, shares_of, tensor_split
from synaptic.planning.machine import Machine
from synaptic.planning.placement import Placement
from synaptic.planning.plan import Plan

Shares = Sequence[tuple[Endpoint | None, int]]


def pinned(demand: Demand, machines: Sequence[Machine], wanted: Shares, *, why: str) -> Placement | None:
    """None: one of them is not among `machines`, the layers are not those of the model, or it does not fit."""
    at = {machine.endpoint: machine for machine in agreed(machines)}
    counts = [layers for _, layers in wanted]
    if not all(endpoint in at for endpoint, _ in wanted) or sum(counts) != demand.shape.layers or min(counts, default=0) < 1:
        return None
    chosen = [at[endpoint] for endpoint, _ in wanted]
    if not fits_in(demand, chosen, counts):
        return None
    shares = shares_of(demand, chosen, counts)
    return Placement(
        shares=shares,
        tensor_split=tensor_split(chosen, counts),
        fits=True,
        need_bytes=sum(share.bytes for share in shares),
        reserve_bytes=sum(map(reserve, chosen)),
        available_bytes=available(chosen),
        missing_bytes=0,
        dropped=(),
        prediction=predict(demand.shape, shares, chosen, demand.context, slots=demand.slots, kv_type=demand.kv_type),
        why=why,
    )


def is_split_so(plan: Plan, wanted: Sequence[tuple[Endpoint, int]]) -> bool:
    """Whether `plan` is that split. Over workers of several devices only its workers can be told."""
    if plan.workers != tuple(worker for worker, _ in wanted):
        return False
    return plan.layers() in (None, [layers for _, layers in wanted])
