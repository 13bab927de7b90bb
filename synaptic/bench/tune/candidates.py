"""What tuning tries, with what the cost model says of it, and why some of it need not be measured. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import combinations

from synaptic.bench.tune.values import Candidate, Objective
from synaptic.endpoint import Endpoint
from synaptic.planning.costmodel import Prediction, predict
from synaptic.planning.filling import Demand, by_speed, first_fit
from synaptic.planning.machine import Machine
from synaptic.planning.pinned import pinned
from synaptic.planning.placement import Placement, place
from synaptic.planning.plan import Plan
from synaptic.planning.shape import Shape
from synaptic.results import gib, plural
from synaptic.settings.splits import Split, with_split

MOST_WORKERS = 5  # of which every choice is tried; of more, the nearest ones
LEAST_CONTEXT, STEP = 2048, 1024  # tokens
TUNNEL = 0.002  # seconds: what answers that late from an address of this machine stands elsewhere, behind a tunnel


@dataclasses.dataclass(frozen=True)
class Scene:
    """`machines`: those that may hold the model now, this one with no endpoint among them if it may. `splits`: as settings have them."""

    shape: Shape
    machines: Sequence[Machine]
    now: Plan
    objective: Objective
    splits: tuple[Split, ...] = ()

    def at_work(self, plan: Plan) -> int:
        return min(plan.slots, self.objective.load.concurrency or 1)


def with_latency(machines: Sequence[Machine], seconds: Sequence[float | None]) -> list[Machine]:
    """`seconds` of a handshake with each: where an address of ours leads elsewhere, its round trip."""
    return [
        dataclasses.replace(machine, round_trip=took) if not machine.round_trip and (took or 0.0) >= TUNNEL and took else machine
        for machine, took in zip(machines, seconds, strict=True)
    ]


def anchor(scene: Scene) -> Candidate:
    """The configuration of now."""
    found = _as_now(scene, scene.now)
    return _candidate(scene, "now", scene.now, found)


def parallel(scene: Scene, counts: Sequence[int] = ()) -> list[Candidate]:
    """Slots: 1, 2, 4 … up to as many as are ever at work at once, and those beyond the powers of two that `counts` names."""
    most = scene.objective.load.concurrency or 1
    tried = counts or sorted({1, *(1 << power for power in range(1, most.bit_length()) if 1 << power <= most), most})
    found = []
    for slots in dict.fromkeys(tried):
        plan, placed = _moved(scene, dataclasses.replace(scene.now, slots=slots))
        found.append(_candidate(scene, f"parallel {slots}", plan, placed, (("parallel", slots),), price=slots))
    return _others(scene, found)


def contexts(scene: Scene, sizes: Sequence[int] = ()) -> list[Candidate]:
    """Longer contexts than now, doubling, up to what the model was trained for; and the longest that fits."""
    trained = scene.now.model.context or scene.now.context
    doubled = [LEAST_CONTEXT << power for power in range(16) if scene.now.context < LEAST_CONTEXT << power < trained]
    found = []
    for size in dict.fromkeys(sizes or sorted({*doubled, _longest_fitting(scene, trained), trained})):
        plan, placed = _moved(scene, dataclasses.replace(scene.now, context=min(size, trained)))
        found.append(_candidate(scene, f"ctx {plan.context}", plan, placed, (("context", plan.context),), price=-plan.context))
    return _others(scene, found)


def splits(scene: Scene) -> list[Candidate]:
    """Each choice of machines: filled as the placement would, and as full as possible from each one on."""
    found: dict[tuple[object, ...], Candidate] = {}
    for placed in _placements(scene):
        shares = tuple((share.endpoint, share.layers) for share in placed.shares if share.layers)
        if shares not in found:
            found[shares] = _split(scene, placed, shares)
    return _others(scene, list(found.values()))


def _longest_fitting(scene: Scene, trained: int) -> int:
    """By halving, in steps: the need grows with each token. Not more than the model was trained for."""
    low, high = scene.now.context // STEP, trained // STEP
    while low < high:
        middle = (low + high + 1) // 2
        _, placed = _moved(scene, dataclasses.replace(scene.now, context=middle * STEP))
        low, high = (middle, high) if placed.fits else (low, middle - 1)
    return max(scene.now.context, low * STEP)


def worth_measuring(candidates: Sequence[Candidate], now: Candidate, objective: Objective) -> list[Candidate]:
    """The likely best first; what cannot be it carries its reason."""
    able = [each for each in (now, *candidates) if not each.why_not]
    judged = [each if each.why_not else dataclasses.replace(each, why_not=_hopeless(each, objective, able)) for each in candidates]
    return sorted(judged, key=lambda each: (bool(each.why_not), -each.prediction.expected if each.prediction else 0.0, each.price))


def _hopeless(candidate: Candidate, objective: Objective, able: Sequence[Candidate]) -> str:
    """Only what writes as many answers at once is surely slower: what one more of them costs is predicted less well."""
    said, limits = candidate.prediction, objective.limits
    if said is None:
        return ""
    high = said.tokens_per_second[1]
    tpot = 1000 * said.slots / high
    sure = max(each.prediction.tokens_per_second[0] for each in able if each.prediction and each.prediction.slots == said.slots)
    if limits.tpot is not None and tpot > limits.tpot:
        return f"by the cost model a token takes {tpot:.0f} ms at least, and the limit is {limits.tpot:g} ms"
    if limits.ttft is not None and said.ttft_ms[0] > limits.ttft:
        return f"by the cost model the first token takes {said.ttft_ms[0]:.0f} ms at least, and the limit is {limits.ttft:g} ms"
    if high < sure:
        return f"by the cost model {high:.1f} tok/s at most, and another one {sure:.1f} at least"
    return ""


def _placements(scene: Scene) -> Iterator[Placement]:
    plan = scene.now
    demand = Demand(scene.shape, plan.context, plan.slots, plan.kv_type)
    near = sorted((each for each in scene.machines if each.endpoint), key=lambda each: each.round_trip)[:MOST_WORKERS]
    for count in range(1, len(near) + 1):
        for chosen in combinations(near, count):
            yield place(scene.shape, chosen, context=plan.context, slots=plan.slots, must_use_all=True, kv_type=plan.kv_type)
            if count > 1:
                yield from _from_each(demand, by_speed(chosen, scene.shape))
    for here in (each for each in scene.machines if not each.endpoint):
        yield place(scene.shape, [here], context=plan.context, slots=plan.slots, kv_type=plan.kv_type)


def _from_each(demand: Demand, chosen: Sequence[Machine]) -> Iterator[Placement]:
    """Each of them first, as full as it can be, with the rest on the others."""
    for first in chosen:
        order = [first, *(each for each in chosen if each is not first)]
        counts = first_fit(demand, order, least=1)
        wanted = [(machine.endpoint, layers) for machine, layers in zip(order, counts, strict=True)]
        if placed := pinned(demand, chosen, wanted, why="as full as possible"):
            yield placed


def _split(scene: Scene, placed: Placement, shares: tuple[tuple[Endpoint | None, int], ...]) -> Candidate:
    workers = tuple((endpoint, layers) for endpoint, layers in shares if endpoint)
    plan = dataclasses.replace(scene.now, workers=tuple(worker for worker, _ in workers), tensor_split=placed.tensor_split)
    if not workers:
        return _candidate(scene, "this machine alone", plan, placed, (("distributed_inference_enabled", False),))
    kept = with_split(scene.splits, Split(scene.now.model.name, workers))
    name = " + ".join(f"{worker} {layers}" for worker, layers in workers)
    return _candidate(scene, f"layers {name}", plan, placed, (("splits", kept),), price=len(workers))


def _moved(scene: Scene, plan: Plan) -> tuple[Plan, Placement]:
    """`plan` on the machines of now, or, where it does not fit there, on whichever hold it."""
    if placed := _as_now(scene, plan):
        return dataclasses.replace(plan, tensor_split=placed.tensor_split), placed
    machines = [each for each in scene.machines if bool(each.endpoint) is bool(plan.workers)]
    placed = place(scene.shape, machines, context=plan.context, slots=plan.slots, kv_type=plan.kv_type)
    workers = tuple(share.endpoint for share in placed.shares if share.endpoint and share.layers)
    return dataclasses.replace(plan, workers=workers, tensor_split=placed.tensor_split), placed


def _as_now(scene: Scene, plan: Plan) -> Placement | None:
    """With the layers where they are now."""
    now, layers = scene.now, scene.shape.layers
    demand = Demand(scene.shape, plan.context, plan.slots, plan.kv_type)
    if len(now.workers) < 2:
        return pinned(demand, scene.machines, [(now.workers[0] if now.workers else None, layers)], why="as now")
    if counts := now.layers():
        return pinned(demand, scene.machines, list(zip(now.workers, counts, strict=True)), why="as now")
    held = [each for each in scene.machines if each.endpoint in now.workers]
    found = place(scene.shape, held, context=plan.context, slots=plan.slots, must_use_all=True, kv_type=plan.kv_type)
    return found if found.fits else None


def _candidate(
    scene: Scene, name: str, plan: Plan, placed: Placement | None, settings: tuple[tuple[str, object], ...] = (), price: float = 0.0
) -> Candidate:
    said = _predicted(scene, plan, placed) if placed else None
    return Candidate(name, plan, said, settings, price, _why_not(placed))


def _predicted(scene: Scene, plan: Plan, placed: Placement) -> Prediction:
    return predict(
        scene.shape,
        placed.shares,
        scene.machines,
        plan.context,
        slots=scene.at_work(plan),
        kv_type=plan.kv_type,
        prompt=max(1, scene.objective.load.mix.prompt_tokens),
    )


def _why_not(placed: Placement | None) -> str:
    if placed is None or placed.fits:
        return ""
    machines = plural(len(placed.shares), "machine")
    return f"it does not fit: {gib(placed.need_bytes)} needed on {machines}, {gib(placed.missing_bytes)} missing"


def _others(scene: Scene, found: Sequence[Candidate]) -> list[Candidate]:
    """Those that are not the configuration of now."""
    return [each for each in found if not _is(scene.now, each.plan)]


def _is(now: Plan, plan: Plan) -> bool:
    same = (now.workers, now.context, now.slots) == (plan.workers, plan.context, plan.slots)
    return same and (not now.tensor_split or not plan.tensor_split or now.tensor_split == plan.tensor_split)
