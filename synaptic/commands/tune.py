"""tune: predict, measure, judge, and propose a better configuration."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import backends, models
from synaptic.commands.grammar import Choice, Complete
from synaptic.commands.numbers import Numbers
from synaptic.commands.plan import Endpoints
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.results import Facts

if TYPE_CHECKING:
    from synaptic.bench.tune.run import Budget
    from synaptic.bench.tune.values import Objective
    from synaptic.commands.tune_work import Wish
    from synaptic.endpoint import Endpoint
    from synaptic.session import Session

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
MOST_AT_ONCE, MOST_REQUESTS, MOST_REPEATS = 64, 10_000, 100
LEAST_REQUESTS = 4  # of a visit, where nobody says how many
USUAL_USERS = 4  # at once, for whom slots are chosen
Aim = Annotated[str, Choice("throughput", "latency")]


@dataclasses.dataclass(frozen=True)
class Span:
    """A time as typed: 90, 90s, 10m, 1.5h."""

    seconds: float

    @classmethod
    def parse(cls, text: str) -> Span:
        match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smh]?)", text)
        if not match or not 1 <= (seconds := float(match[1]) * _UNITS[match[2]]) <= 7 * 86400:
            raise UsageError("a budget is a time, from 1 s on", hint="such as --budget 10m, or 90s, or 2h")
        return cls(seconds)


USUAL_BUDGET = Span(600)


@registry.command("tune parallel", group="measure")
async def parallel(
    session: Session,
    *,
    model: Annotated[str | None, Complete(models)] = None,
    for_: Aim = "throughput",
    limits: str | None = None,
    concurrency: int = USUAL_USERS,
    mix: str = "short",
    try_: Numbers | None = None,
    requests: int | None = None,
    repeats: int = 5,
    budget: Span = USUAL_BUDGET,
    drift: float = 15.0,
    seed: int = 1,
) -> Facts:
    """Find how many answers the coordinator should write at once.

    For --concurrency users at work: --for throughput looks for the most requests/s within --limits (a name, TTFT/TPOT in
    ms, or none), --for latency for the shortest answers. Candidates are 1, 2, 4 … slots, or those of --try. Each is
    predicted first; the rest is measured in turns, with coordinators started for that alone, between visits to the
    configuration of now. What lies between two of these that differ by more than --drift percent does not count.
    A change is proposed only where it is better by more than chance, and applied only when you say so.

        tune parallel --concurrency 4 --budget 10m
        tune parallel --for latency --limits 2000/100 --try 1,2,3

    See also: bench run, decision list, plan
    """
    objective, spent = _objective(for_, limits, mix, concurrency), _budget(budget, repeats, drift)
    return await _tuned(session, model, [_wish("parallel", objective, requests, spent, seed, tried=try_)])


@registry.command("tune ctx", group="measure")
async def ctx(
    session: Session,
    *,
    model: Annotated[str | None, Complete(models)] = None,
    for_: Aim = "latency",
    limits: str | None = None,
    concurrency: int = 1,
    mix: str = "short",
    try_: Numbers | None = None,
    requests: int | None = None,
    repeats: int = 5,
    budget: Span = USUAL_BUDGET,
    drift: float = 15.0,
    seed: int = 1,
) -> Facts:
    """Find the longest context that fits, and what it costs.

    Candidates double from the context of now up to what the model was trained for; what does not fit by the placement
    is not tried. Proposed is the longest that is not slower than now by more than chance, nor by more than 5 %.

        tune ctx --budget 5m
        tune ctx --try 4096,8192

    See also: tune parallel, plan
    """
    objective, spent = _objective(for_, limits, mix, concurrency), _budget(budget, repeats, drift)
    return await _tuned(session, model, [_wish("ctx", objective, requests, spent, seed, tried=try_)])


@registry.command("tune split", group="measure")
async def split(
    session: Session,
    *,
    model: Annotated[str | None, Complete(models)] = None,
    on: Annotated[Endpoints | None, Complete(backends)] = None,
    for_: Aim = "latency",
    limits: str | None = None,
    concurrency: int = 1,
    mix: str = "short",
    requests: int | None = None,
    repeats: int = 5,
    budget: Span = USUAL_BUDGET,
    drift: float = 15.0,
    seed: int = 1,
) -> Facts:
    """Find which workers should hold the model, and how many layers each.

    Candidates are all choices of up to five rpc-servers, the nearest ones, each filled in several ways, and this machine
    alone; with --on only these. What is proposed becomes the setting `splits`, which counts as long as all of its workers
    are ready. A .m model needs none of this: its layers follow the speed that `dllama check --verify` measures.

        tune split --budget 15m
        tune split --on 192.168.1.10,192.168.1.11 --for throughput --concurrency 4

    See also: plan, bench link, config set
    """
    objective, spent = _objective(for_, limits, mix, concurrency), _budget(budget, repeats, drift)
    return await _tuned(session, model, [_wish("split", objective, requests, spent, seed, only=on.all if on else ())])


@registry.command("tune all", group="measure")
async def all_(
    session: Session,
    *,
    model: Annotated[str | None, Complete(models)] = None,
    limits: str | None = None,
    concurrency: int = USUAL_USERS,
    mix: str = "short",
    requests: int | None = None,
    repeats: int = 5,
    budget: Span = USUAL_BUDGET,
    drift: float = 15.0,
    seed: int = 1,
) -> Facts:
    """Tune the split, then the context, then the slots; each with a third of the budget, from what the one before proposes.

        tune all --budget 30m

    See also: tune split, tune ctx, tune parallel
    """
    alone, many = _objective("latency", limits, mix, 1), _objective("throughput", limits, mix, concurrency)
    third = _budget(Span(budget.seconds / 3), repeats, drift)
    steps = (("split", alone), ("ctx", alone), ("parallel", many))
    return await _tuned(session, model, [_wish(kind, objective, requests, third, seed) for kind, objective in steps])


async def _tuned(session: Session, model: str | None, wishes: Sequence[Wish]) -> Facts:
    from synaptic.commands.tune_shown import applied, shown
    from synaptic.commands.tune_work import tune

    outcomes = await tune(session, model, wishes)
    return shown(outcomes, is_applied=await applied(session, outcomes))


def _objective(aim: str, limits: str | None, mix: str, concurrency: int) -> Objective:
    """Raises UsageError."""
    from synaptic.bench.limits import USUAL, limits_of
    from synaptic.bench.load.measurement import Load
    from synaptic.bench.load.mixes import Mix
    from synaptic.bench.result import Limits
    from synaptic.bench.tune.values import Objective

    if not 1 <= concurrency <= MOST_AT_ONCE:
        raise UsageError(f"--concurrency is 1 to {MOST_AT_ONCE}")
    return Objective(aim, Limits("none", None, None) if limits == "none" else limits_of(limits or USUAL), Load(Mix.parse(mix), concurrency))


def _budget(span: Span, repeats: int, drift: float) -> Budget:
    """`drift` in percent. Raises UsageError."""
    from synaptic.bench.tune.run import Budget
    from synaptic.bench.tune.schedule import LEAST_ROUNDS

    if not LEAST_ROUNDS <= repeats <= MOST_REPEATS:
        raise UsageError(f"--repeats is {LEAST_ROUNDS} to {MOST_REPEATS}: with fewer nothing can be judged")
    if not 1 <= drift <= 1000:
        raise UsageError("--drift is a percentage, from 1 on", hint="such as --drift 15")
    return Budget(span.seconds, repeats, drift / 100)


def _wish(
    kind: str,
    objective: Objective,
    requests: int | None,
    budget: Budget,
    seed: int,
    *,
    tried: Numbers | None = None,
    only: tuple[Endpoint, ...] = (),
) -> Wish:
    """Raises UsageError."""
    from synaptic.commands.tune_work import Wish

    at_once = objective.load.concurrency or 1
    if requests is not None and not 1 <= requests <= MOST_REQUESTS:
        raise UsageError(f"--requests is 1 to {MOST_REQUESTS}")
    if requests is not None and requests < at_once:
        raise UsageError(f"--requests {requests} never has {at_once} at work at once", hint=f"try: --requests {2 * at_once}")
    return Wish(kind, objective, requests or max(LEAST_REQUESTS, 2 * at_once), budget, seed, tried.all if tried else (), only)
