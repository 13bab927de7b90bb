"""plan, of a .m model: which layers, or which shares of them, would lie on which dllama worker, and how fast that would be."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from synaptic.commands.plan_shown import alternatives_table, prediction_document
from synaptic.errors import BackendError, SynapticError
from synaptic.planning.changes import Alternative
from synaptic.planning.dllama_plan import LAYERS, NONE, TENSOR, DllamaPlan
from synaptic.planning.dllama_speed import macs_of
from synaptic.planning.plan import context_of
from synaptic.planning.speeds import Speed
from synaptic.results import Cell, Facts, Rows, gib, plural, spread

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.endpoint import Endpoint
    from synaptic.models.model import Model
    from synaptic.session import Session

UNMEASURED = "of the workers' speed nothing is known, or not of all; dllama check --verify measures it"
_CUTS = {TENSOR: "a share of every layer for each node", LAYERS: "a run of layers for each worker", NONE: "this machine alone"}


@dataclasses.dataclass(frozen=True)
class Holder:
    """Of one machine. `first` and `last`: its layers, counted from 0; with shares of every layer all of them."""

    endpoint: Endpoint | None
    first: int | None
    last: int | None
    layers: int
    weight_bytes: int
    kv_bytes: int
    compute_bytes: int
    speed: Speed | None


async def plan_of_dllama(session: Session, model: Model, ctx: int | None, on: Sequence[Endpoint], split: str | None) -> Facts:
    """`on`: these workers only; none: all that are known and there."""
    workers = await _workers(session, on)
    context = context_of(model, ctx)
    routes = session.dllama_routes
    found = await routes.planned(model, workers, context, split)
    others = [each for each in (LAYERS, TENSOR, NONE) if each != found.split and (workers or each == NONE)]
    alternatives = [await _alternative(session, model, workers, context, each) for each in others]
    speeds = await asyncio.to_thread(session.dllama_speeds.known)
    return _shown(model, found, context, speeds, alternatives)


async def _workers(session: Session, on: Sequence[Endpoint]) -> list[Backend]:
    """BackendError for one that was named and is not there. None is there: this machine alone, as a prompt would go."""
    found = await session.know_dllama().check(on or None)
    missing = [worker for worker in found if not worker.is_there]
    if on and missing:
        raise BackendError(f"{missing[0].endpoint} is not there: {missing[0].detail or missing[0].state.value}", hint="try: dllama check")
    return found if any(each.is_there for each in found) else []


async def _alternative(session: Session, model: Model, workers: Sequence[Backend], context: int, split: str) -> Alternative:
    change = f"--split {split}"
    try:
        found = await session.dllama_routes.planned(model, workers, context, split)
    except SynapticError as error:
        return Alternative(change, str(error))
    if found.split != split:
        return Alternative(change, f"impossible: {found.not_tensor}")
    if found.missing:
        return Alternative(change, f"does not fit: {gib(found.missing)} missing")
    low, high = found.prediction.tokens_per_second
    without = f", and {found.not_tensor}: over {plural(len(found.plan.workers), 'worker')}" if found.not_tensor and split == TENSOR else ""
    return Alternative(change, f"{spread(low, high)} tok/s{without}")


def _shown(model: Model, found: DllamaPlan, context: int, speeds: dict[Endpoint, Speed], alternatives: Sequence[Alternative]) -> Facts:
    said, holders = found.prediction, _holders(found, speeds)
    facts: list[tuple[str, str | Cell]] = [("verdict", _verdict(model, found))]
    if not found.missing:
        facts += [
            ("speed", f"{spread(*said.tokens_per_second)} tok/s"),
            ("first token", f"{spread(*(each / 1000 for each in said.ttft_ms))} s, after a usual prompt"),
            ("loading", f"{spread(*said.load_seconds)} s"),
            ("bottleneck", said.bottleneck),
        ]
    facts += [("why", found.why), ("context", plural(context, "token"))]
    facts += [("tensor split", f"not over all of them: {found.not_tensor}")] if found.not_tensor else []
    facts += [("left out", f"{endpoint}: {why}") for endpoint, why in found.left_out]
    note = UNMEASURED if said.is_assumed and found.plan.workers else None
    return Facts(
        facts,
        _document(model, found, context, holders, alternatives),
        [("shares", _table(holders)), ("alternatives", alternatives_table(alternatives))],
        note,
    )


def _verdict(model: Model, found: DllamaPlan) -> Cell:
    where = plural(len(found.plan.workers), "worker") if found.plan.workers else "this machine"
    if found.missing:
        return Cell(f"{model.name} does not fit {where}: {gib(found.missing)} missing", "bad")
    return Cell(f"{model.name} fits {where}: {_CUTS[found.split]}", "good")


def _holders(found: DllamaPlan, speeds: dict[Endpoint, Speed]) -> list[Holder]:
    def holder(share_number: int) -> Holder:
        share = found.shares[share_number]
        first = share.first if share.layers else None
        last = share.first + share.layers - 1 if share.layers else None
        speed = speeds.get(share.endpoint) if share.endpoint else None
        return Holder(share.endpoint, first, last, share.layers, share.weight_bytes, share.kv_bytes, share.compute_bytes, speed)

    return [holder(number) for number in range(len(found.shares))]


def _table(holders: Sequence[Holder]) -> Rows[Holder]:
    columns = {
        "worker": lambda each: str(each.endpoint or "this machine"),
        "layers": lambda each: f"{each.first} to {each.last}" if each.layers > 1 else str(each.first) if each.layers else "–",
        "weights": lambda each: gib(each.weight_bytes),
        "kv cache": lambda each: gib(each.kv_bytes),
        "compute": lambda each: gib(each.compute_bytes),
        "speed": lambda each: f"{macs_of(each.speed.bandwidth) / 1e9:.1f} GMAC/s" if each.speed else "–",
    }
    return Rows(key="shares", items=holders, columns=columns)


def _document(
    model: Model, found: DllamaPlan, context: int, holders: Sequence[Holder], alternatives: Sequence[Alternative]
) -> dict[str, object]:
    return {
        "model": model.name,
        "engine": "builtin",
        "split": found.split,
        "context": context,
        "slots": 1,
        "fits": not found.missing,
        "why": found.why,
        "need_bytes": sum(share.bytes for share in found.shares) + found.missing,
        "available_bytes": None,
        "missing_bytes": found.missing,
        "shares": holders,
        "tensor_split": found.layers,
        "not_tensor": found.not_tensor,
        "dropped": [{"endpoint": endpoint, "why": why} for endpoint, why in found.left_out],
        "prediction": prediction_document(found.prediction),
        "alternatives": alternatives,
    }
