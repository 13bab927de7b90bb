"""
Where a prompt goes, and why. Pure: values in, a value out; touches no socket and no clock.

    only at nodes                                     the best node
    distributed off                                   a node that has it, else this machine
    distributed on   ≤ 13B, or a node is known to hold it   a node that has it
                     no worker is ready               a node that has it
                     else                             over the workers, or the one machine that is faster alone
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from synaptic.cluster.backend import Backend
from synaptic.cluster.node import NodeState
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError
from synaptic.models.model import DLLAMA, LLAMA_CPP, Model
from synaptic.planning.costmodel import predict
from synaptic.planning.filling import Demand
from synaptic.planning.machine import Machine
from synaptic.planning.pinned import is_split_so, pinned
from synaptic.planning.placement import Placement
from synaptic.planning.plan import DEFAULT_KV, Plan, Route
from synaptic.planning.shape import Shape
from synaptic.planning.slots import place_slots, slots_here
from synaptic.results import gib

SMALL = 13 * 10**9  # parameters
BITS = 4.8  # of one weight, where only the bytes of a model are known: Q4_K_M


@dataclasses.dataclass(frozen=True)
class Situation:
    """
    What is there at this moment. `nodes`: those that offer the model, best first, each with what speaks for it.

    `workers` are all that are known; `machines` are those of them that are ready, in the same order. `via`: the engine
    that the user wants; None: the best.
    """

    distributed: bool
    here: Machine
    workers: Sequence[Backend] = ()
    machines: Sequence[Machine] = ()
    nodes: Sequence[tuple[NodeState, str]] = ()
    shape: Shape | None = None  # None: the model has no file that llama.cpp reads here
    context: int = 8192  # tokens of one slot
    slots: int | None = None  # answers at the same time; None: as many as cost one alone nothing, up to `most_slots`
    most_slots: int = 1
    kv_type: str = DEFAULT_KV
    via: str | None = None
    goes_on: bool = False  # a part of the answer is written: rather on this machine than not at all
    split: Sequence[tuple[Endpoint, int]] = ()  # how the user wants it split: layers of each worker; empty: the placement decides


def choose(model: Model, now: Situation) -> Route:
    """Raises BackendError when nobody can be asked, EngineError when nothing can hold the model."""
    if now.via:
        return dataclasses.replace(_by(now.via, model, now), is_forced=True)
    if now.shape is None:
        return _at_node(model, now, "only servers have it")
    if not now.distributed:
        return _at_node(model, now, "distributed is off") if now.nodes else _here(model, now, "distributed is off")
    if reason := _for_a_node(model, now):
        return _at_node(model, now, reason)
    return _spread(model, now, now.shape)


def is_as_wanted(plan: Plan, now: Situation) -> bool:
    """Whether what runs by `plan` may stay. An answer that goes on takes it with other slots, and split otherwise, too."""
    if now.via not in (None, LLAMA_CPP) or bool(plan.workers) is not now.distributed:
        return False
    if (plan.context, plan.kv_type) != (now.context, now.kv_type):
        return False
    return now.goes_on or (now.slots in (None, plan.slots) and (not now.split or is_split_so(plan, now.split)))


def _by(via: str, model: Model, now: Situation) -> Route:
    why = f"{via} was asked for"
    if via != LLAMA_CPP:
        wanted = [each for each in now.nodes if _via(each[0]) == via]
        return _at_node(model, dataclasses.replace(now, nodes=wanted), why)
    if now.shape is None:
        raise EngineError(f"llama.cpp cannot run {model.name}: no file of it is here", hint=f"try: model pull {model.name}")
    return _spread(model, now, now.shape) if now.distributed else _here(model, now, why)


def _for_a_node(model: Model, now: Situation) -> str:
    """Why a node is better than the workers; empty when it is not."""
    if not now.nodes:
        return ""
    size = model.parameters or round(model.bytes * 8 / BITS)
    if size <= SMALL:
        return "up to 13B one node is fastest"
    if any(_holds(state, model, now) for state, _ in now.nodes):
        return "it fits one machine"
    if not now.machines:
        return "no worker is ready"
    return ""


def _holds(state: NodeState, model: Model, now: Situation) -> bool:
    """Whether the node is known to have room: it has the model loaded, or it is this machine and this machine has."""
    if any(offer.is_loaded for offer in model.offers if offer.node == state.node.url):
        return True
    return state.node.endpoint.is_loopback and now.here.free is not None and model.bytes <= now.here.free


def _at_node(model: Model, now: Situation, why: str) -> Route:
    if not now.nodes:
        at = ", ".join(sorted({offer.node for offer in model.offers})) or "no server"
        if DLLAMA in model.engines:
            raise EngineError(
                f"{model.name} is a distributed-llama model, and no server offers it", hint="try: nodes add URL of its dllama-api"
            )
        raise BackendError(f"no server that has {model.name} is ready: {at}", hint="try: nodes health")
    state, reason = now.nodes[0]
    via = _via(state)
    same = [each.node.url for each, _ in now.nodes if _via(each) == via]
    return Route(via, model, f"{why}; {reason}" if reason else why, nodes=tuple(same))


def _via(state: NodeState) -> str:
    return state.node.kind.value


def _here(model: Model, now: Situation, why: str) -> Route:
    free = now.here.free
    if free is not None and model.bytes > free:
        missing = gib(model.bytes - free)
        raise EngineError(
            f"{model.name} needs {gib(model.bytes)} and this machine has {gib(free)} free: {missing} missing",
            hint="try: distributed on, to spread it over workers; or a smaller model",
        )
    plan = Plan(model, (), now.context, _slots_here(model, now), kv_type=now.kv_type)
    return Route(LLAMA_CPP, model, f"on this machine: {why}", plan)


def _slots_here(model: Model, now: Situation) -> int:
    return slots_here(
        model,
        now.shape,
        now.here.free,
        slots=now.slots,
        most=now.most_slots,
        context=now.context,
        kv_type=now.kv_type,
        rather_fewer=now.goes_on,
    )


def _spread(model: Model, now: Situation, shape: Shape) -> Route:
    if not now.machines and now.goes_on:
        return _here(model, now, "no worker is left")
    if not now.machines:
        raise BackendError("distributed is on, but no worker is ready" + _reasons(now.workers), hint=_way_out(now.workers))
    placed, slots = _as_wanted(shape, now) or place_slots(
        shape,
        now.machines,
        slots=now.slots,
        most=now.most_slots,
        context=now.context,
        kv_type=now.kv_type,
        must_use_all=model.is_shipped,
        rather_fewer=now.goes_on,
    )
    if not placed.fits:
        raise _too_large(model, placed)
    workers = tuple(share.endpoint for share in placed.shares if share.endpoint and share.layers)
    plan = Plan(model, workers, now.context, slots, tensor_split=placed.tensor_split, kv_type=now.kv_type)
    alone = predict(shape, placed.shares, now.machines, now.context, kv_type=now.kv_type)
    return Route(LLAMA_CPP, model, _why(now, placed), plan, prediction=alone)


def _as_wanted(shape: Shape, now: Situation) -> tuple[Placement, int] | None:
    """As the user wants it split, with as many slots as fit so. None: nothing is wanted, or it cannot be now."""
    if not now.split:
        return None
    for slots in (now.slots,) if now.slots else range(max(now.most_slots, 1), 0, -1):
        demand = Demand(shape, now.context, slots, now.kv_type)
        if placed := pinned(demand, now.machines, now.split, why="split as the setting splits says"):
            return placed, slots
    return None


def _why(now: Situation, placed: Placement) -> str:
    lost = [f"{worker.endpoint} ({worker.state.value})" for worker in now.workers if not worker.is_ready]
    reasons = dict.fromkeys(why for _, why in placed.dropped)
    dropped = [f"{', '.join(str(endpoint) for endpoint, its in placed.dropped if its == why)} ({why})" for why in reasons]
    without = f"without {', '.join(lost + dropped)}" if lost or dropped else ""
    return "; ".join(filter(None, ("distributed is on", placed.why, without)))


def _too_large(model: Model, placed: Placement) -> EngineError:
    have = f"the workers offer {gib(placed.available_bytes)}"
    change = placed.alternatives[0] if placed.alternatives else None
    hint = f"try: {change.change} ({change.effect})" if change else "try: rpc add another worker"
    return EngineError(f"{model.name} needs {gib(placed.need_bytes)} and {have}: {gib(placed.missing_bytes)} missing", hint=hint)


def _reasons(workers: Sequence[Backend]) -> str:
    return "".join(f"; {worker.endpoint} {worker.detail or worker.state.value}" for worker in workers[:3])


def _way_out(workers: Sequence[Backend]) -> str:
    return "try: rpc check, or: distributed off" if workers else "try: rpc discover, or: worker start --count 2, or: distributed off"
