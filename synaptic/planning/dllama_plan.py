"""Where a distributed-llama model would lie, and how it is cut: shares of every layer, runs of layers, or here alone. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from synaptic.cluster.backend import Backend
from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.layout import uncuttable
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError
from synaptic.models.model import Model
from synaptic.planning.costmodel import Prediction
from synaptic.planning.dllama import spread_dllama
from synaptic.planning.dllama_layers import Laid, lay, shares_of_runs
from synaptic.planning.dllama_speed import predict_alone, predict_layers, predict_tensor, speed_of
from synaptic.planning.machine import HERE, Machine, Share
from synaptic.planning.plan import Plan
from synaptic.results import gib, plural

TENSOR, LAYERS, NONE = "tensor", "layers", "none"  # how a model is cut
_MOST_NAMED = 8


@dataclasses.dataclass(frozen=True)
class DllamaPlan:
    """
    `layers`: of each worker of the plan, in the layer split. `shares`: this machine's first, with no endpoint.
    `not_tensor`: why shares of every layer are not for all of the workers; empty when they could be.
    """

    plan: Plan
    split: str
    shares: tuple[Share, ...]
    prediction: Prediction
    why: str
    layers: tuple[int, ...] = ()
    left_out: tuple[tuple[Endpoint, str], ...] = ()
    missing: int = 0  # bytes
    not_tensor: str = ""


@dataclasses.dataclass(frozen=True)
class Question:
    """`workers`: those that are known, as they were looked at just now; `machines`: what is known of their speed and memory."""

    model: Model
    header: DllamaHeader
    workers: Sequence[Backend]
    machines: Sequence[Machine]
    here: Machine
    context: int


def plan_dllama(asked: Question, split: str | None = None) -> DllamaPlan:
    """`split`: as the user wants it; None: the faster one. BackendError when none of the workers can be used, EngineError."""
    if split == NONE or not asked.workers:
        return _alone(asked)
    there = [each for each in asked.workers if each.is_there]
    if not there:
        reasons = "; ".join(f"{each.endpoint} {each.detail or each.state.value}" for each in asked.workers[:3])
        raise BackendError(f"no dllama worker is ready: {reasons}", hint="try: dllama check, or: distributed off")
    trouble = tensor_trouble(asked.header, len(there) + 1)
    if split == LAYERS:
        return _by_layers(asked, there, trouble, all_of_them=True)
    shares = _by_shares(asked, trouble)
    if split == TENSOR:
        if shares.split == NONE:
            why = uncuttable(asked.header, 2) or shares.why
            raise EngineError(f"{asked.model.name} {why}: there are no shares of its layers", hint="try: --split layers")
        return shares
    runs = _by_layers(asked, there, trouble, all_of_them=False)
    return shares if _are_shares_better(asked, shares, runs) else runs


def tensor_trouble(header: DllamaHeader, nodes: int) -> str:
    """Why there is no share of every layer for each of so many nodes, this machine among them; empty: there is."""
    who = f"here and {plural(nodes - 1, 'worker')}"
    if why := uncuttable(header, nodes):
        return f"the model {why} ({who})"
    return f"the nodes must be a power of two, and {who} are {nodes}" if nodes & (nodes - 1) else ""


def _alone(asked: Question) -> DllamaPlan:
    header, context = asked.header, min(asked.context, asked.header.context)
    share = _whole(header, context)
    fits = asked.here.free is None or share.bytes <= asked.here.free
    free = "" if fits else f", which has {gib(asked.here.free or 0)} free: its file is read again and again"
    why = f"this machine alone{free}"
    return DllamaPlan(Plan(asked.model, (), context), NONE, (share,), predict_alone(header, _here(asked), context, fits=fits), why)


def _here(asked: Question) -> Machine:
    """As fast as a worker of this machine, where one was measured."""
    speeds = [each.speed for each in asked.machines if each.speed and each.memory == HERE]
    return dataclasses.replace(asked.here, speed=max(speeds, key=lambda speed: speed.bandwidth)) if speeds else asked.here


def _by_shares(asked: Question, trouble: str) -> DllamaPlan:
    speeds = {each.endpoint: speed_of(each) for each in asked.machines}
    fastest_first = sorted(asked.workers, key=lambda each: -speeds.get(each.endpoint, 0.0))  # the slowest of them sets the pace
    spread = spread_dllama(asked.model, asked.header, fastest_first, context=asked.context)
    used = [each for each in asked.machines if each.endpoint in spread.plan.workers]
    if not used:
        prediction = predict_alone(asked.header, asked.here, spread.plan.context, fits=True)
    else:
        prediction = predict_tensor(asked.header, used, spread.plan.context)
    why = "; ".join(filter(None, (spread.why, unknown_memory(used))))
    return DllamaPlan(spread.plan, TENSOR if used else NONE, spread.shares, prediction, why, left_out=spread.left_out, not_tensor=trouble)


def _by_layers(asked: Question, there: Sequence[Backend], trouble: str, *, all_of_them: bool) -> DllamaPlan:
    at = {machine.endpoint: machine for machine in asked.machines}
    machines = [at.get(each.endpoint) or Machine(each.endpoint, None) for each in there]
    context, one_each = min(asked.context, asked.header.context), asked.model.is_shipped
    laid = lay(asked.header, machines, context, all_of_them=all_of_them, must_use_all=one_each)
    used = [(machine, count) for machine, count in zip(machines, laid.counts, strict=True) if count]
    workers, counts = tuple(machine.endpoint for machine, _ in used if machine.endpoint), tuple(count for _, count in used)
    left_out = tuple((each.endpoint, each.detail or each.state.value) for each in asked.workers if not each.is_there)
    return DllamaPlan(
        plan=Plan(asked.model, workers, context),
        split=LAYERS,
        shares=shares_of_runs(asked.header, workers, counts, context),
        prediction=predict_layers(asked.header, machines, laid.counts, context),
        why=_why(machines, laid, one_each=one_each),
        layers=counts,
        left_out=left_out + tuple((endpoint, _idle(at.get(endpoint), machines, asked.header.layers)) for endpoint in laid.idle),
        missing=laid.missing,
        not_tensor=trouble,
    )


def _are_shares_better(asked: Question, shares: DllamaPlan, runs: DllamaPlan) -> bool:
    if shares.left_out or shares.split == NONE:
        return False
    if shares.prediction.is_assumed or runs.prediction.is_assumed or runs.missing:
        return not runs.missing or len(shares.plan.workers) == len(asked.workers)
    return shares.prediction.expected >= runs.prediction.expected


def _why(machines: Sequence[Machine], laid: Laid, *, one_each: bool) -> str:
    used = [(machine, count) for machine, count in zip(machines, laid.counts, strict=True) if count]
    runs = f"{', '.join(str(count) for _, count in used[:_MOST_NAMED])} layers in a row for {plural(len(used), 'worker')}"
    if laid.missing:
        return f"{runs}, and no room for the rest"
    speeds = {machine.speed for machine, _ in used}
    by_speed = "one for each, the rest in proportion to their speed" if one_each else "in proportion to their speed"
    how = "as many for each, for their speed is not known" if speeds == {None} else by_speed
    if any(machine.speed is None for machine, _ in used) and speeds != {None}:
        how += ", as far as it is known"
    text = f"{runs}, {how}" if len(used) > 1 else f"all {used[0][1]} layers at one worker"
    return "; ".join(filter(None, (text, unknown_memory([machine for machine, _ in used]))))


def unknown_memory(machines: Sequence[Machine]) -> str:
    """What a plan takes for granted, in words."""
    unknown = [machine.name for machine in machines if machine.free is None]
    if not unknown:
        return ""
    more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
    return f"the memory of {', '.join(unknown[:3])}{more} is not known, and taken as enough"


def _idle(machine: Machine | None, machines: Sequence[Machine], layers: int) -> str:
    fastest = max(map(speed_of, machines))
    slower = fastest / speed_of(machine) if machine else 1.0
    if slower > 1.2:
        return f"{slower:.1f} times slower than the fastest: every token would wait for it"
    return f"there are only {layers} layers" if layers < len(machines) else "has no room for a layer"


def _whole(header: DllamaHeader, context: int) -> Share:
    root, *worker = shares_of_runs(header, (Endpoint("here", 1),), (header.layers,), context)
    rest = worker[0]
    return Share(None, header.layers, root.weight_bytes + rest.weight_bytes, rest.kv_bytes, rest.compute_bytes)
