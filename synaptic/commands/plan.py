"""plan: what would run where, does it fit, how fast, and why. Nothing is started."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import backends, models
from synaptic.commands.grammar import Complete
from synaptic.commands.registry import registry
from synaptic.endpoint import Endpoint, parse_list
from synaptic.errors import BackendError, EngineError, UsageError
from synaptic.models.model import LLAMA_CPP
from synaptic.results import Cell, Facts, Rows, gib, plural

if TYPE_CHECKING:
    from synaptic.cluster.backend import Backend
    from synaptic.models.model import Model
    from synaptic.planning.changes import Alternative
    from synaptic.planning.machine import Machine, Share
    from synaptic.planning.placement import Placement
    from synaptic.session import Session

MOST_SLOTS = 64
UNPROBED = "of the machines' speed nothing is known; plan --probe measures it"


@dataclasses.dataclass(frozen=True)
class Endpoints:
    """Several addresses as typed: a:50052,b:50052."""

    all: tuple[Endpoint, ...]

    @classmethod
    def parse(cls, text: str) -> Endpoints:
        good, bad = parse_list(text)
        if bad or not good:
            raise UsageError(bad[0] if bad else "no address is named", hint="such as --on 192.168.1.10,192.168.1.11:50053")
        return cls(tuple(good))


@registry.command("plan", group="models")
async def plan(
    session: Session,
    model: Annotated[str, Complete(models)],
    *,
    ctx: int | None = None,
    parallel: int = 1,
    on: Annotated[Endpoints | None, Complete(backends)] = None,
    probe: bool = False,
    profile: str | None = None,
) -> Facts:
    """Show what would run where, whether it fits, how fast it would be, and why. Nothing is started.

    Over all workers that are ready, or those named with --on; with no worker, on this machine. --ctx is the tokens
    of one conversation, --parallel how many answers are written at once. --probe first measures each worker for a
    few seconds with llama-bench: without that, speeds are assumed, and the ranges are wide.

        plan demo
        plan llama-3.1-70b-q4_k_m --ctx 16384 --parallel 2
        plan demo --on 192.168.1.10,192.168.1.11 --probe

    See also: explain, model show, rpc list
    """
    from synaptic.planning.placement import place
    from synaptic.planning.plan import context_of
    from synaptic.planning.shape import Shape

    _check(ctx, parallel)
    chosen = await asyncio.to_thread(session.catalog.find, model)
    header = await asyncio.to_thread(session.catalog.header, chosen)
    if profile:
        machines = await asyncio.to_thread(_written_down, session, profile)
    else:
        workers = await _workers(session, on)
        if probe:
            await _measure(session, workers)
        machines = await asyncio.to_thread(machines_now, session, workers)
    context = context_of(chosen, ctx)
    is_shipped = chosen.source == "shipped"
    placed = await asyncio.to_thread(lambda: place(Shape.of(header), machines, context=context, slots=parallel, must_use_all=is_shipped))
    return _shown(chosen, placed, context, parallel, _notes(placed, machines))


def machines_now(session: Session, workers: Sequence[Backend]) -> list[Machine]:
    """Ready workers, or without any this machine, with what is known of their speed and memory now. Reads files and the system."""
    here, machines = session.machines(workers)
    return machines or [here]


def _written_down(session: Session, profile: str) -> list[Machine]:
    """Those of a hardware profile; UsageError when it has none."""
    from synaptic.deploy.machines import machines
    from synaptic.deploy.profiles import Profiles

    found = machines(Profiles.of(session.environment).profile(profile))
    if not found:
        raise UsageError(f"{profile} has no machine for llama.cpp", hint="name nodes below roles.llama_rpc")
    return found


def _check(ctx: int | None, parallel: int) -> None:
    if ctx is not None and not 1 <= ctx <= 1 << 24:
        raise UsageError(f"--ctx {ctx} is no number of tokens", hint="such as --ctx 8192")
    if not 1 <= parallel <= MOST_SLOTS:
        raise UsageError(f"--parallel is 1 to {MOST_SLOTS}")


async def _workers(session: Session, on: Endpoints | None) -> list[Backend]:
    """Those that are ready; BackendError for one that was named and is not."""
    pool = session.know_backends()
    found = await pool.check(on.all if on else None)
    missing = [worker for worker in found if not worker.is_ready]
    if on and missing:
        raise BackendError(f"{missing[0].endpoint} is not ready: {missing[0].detail or missing[0].state.value}", hint="try: rpc check")
    return [worker for worker in found if worker.is_ready]


async def _measure(session: Session, workers: Sequence[Backend]) -> None:
    """One after another: several on one machine would slow each other."""
    from synaptic.process.probe import Probe

    if not workers:
        raise BackendError("there is no worker to measure", hint="try: rpc discover, or: worker start --count 2")
    environment = session.environment
    if environment.cache_dir is None:
        raise EngineError("there is no folder for the model to measure with", hint="export HOME, or SYNAPTICLLAMAS_HOME")
    bench = session.engines.require("llama-bench").path
    probe = Probe(bench, session.pool, environment.cache_dir / "probe", environment.variables)
    with session.bus.work("measuring workers") as work:
        for number, worker in enumerate(workers):
            work.update(f"measuring {worker.endpoint}", done=number, total=len(workers), unit="workers")
            speed = await probe.measure(worker.endpoint)
            await asyncio.to_thread(session.speeds.note, {worker.endpoint: speed})


def _notes(placed: Placement, machines: Sequence[Machine]) -> str | None:
    from synaptic.planning.machine import HERE

    used = {share.endpoint for share in placed.shares}
    trusted = [machine.name for machine in machines if machine.endpoint in used and machine.memory not in (None, HERE)]
    notes = [UNPROBED] if placed.prediction.is_assumed else []
    if trusted:
        verb = "states" if len(trusted) == 1 else "state"
        notes.append(f"{', '.join(trusted)} {verb} all memory of the machine as free: what else runs there is not known")
    return "\n".join(notes) or None


def _shown(model: Model, placed: Placement, context: int, slots: int, notes: str | None) -> Facts:
    from synaptic.planning.costmodel import PROMPT

    facts: list[tuple[str, str | Cell]] = [("verdict", _verdict(model, placed))]
    if placed.fits:
        facts += _prediction(placed, min(PROMPT, context), slots)
    facts += [("why", placed.why), ("context", f"{plural(context, 'token')}{f' for each of {slots} answers at once' if slots > 1 else ''}")]
    facts += [("left out", f"{endpoint or 'this machine'}: {why}") for endpoint, why in placed.dropped]
    tables: list[tuple[str, Rows[Share] | Rows[Alternative]]] = [("shares", _shares(placed))]
    if placed.alternatives:
        tables.append(("alternatives", _alternatives(placed)))
    return Facts(facts, _document(model, placed, context, slots), tables, notes)


def _verdict(model: Model, placed: Placement) -> Cell:
    holders = [share for share in placed.shares if share.layers]
    where = plural(len(holders), "worker") if holders and holders[0].endpoint else "this machine"
    if placed.fits:
        return Cell(f"{model.name} fits on {where}: {gib(placed.need_bytes)} of {gib(placed.available_bytes)} free", "good")
    return Cell(f"{model.name} does not fit: {gib(placed.need_bytes)} needed, {gib(placed.missing_bytes)} missing", "bad")


def _prediction(placed: Placement, prompt: int, slots: int) -> list[tuple[str, str | Cell]]:
    said = placed.prediction
    together = f" for {slots} answers together" if slots > 1 else ""
    return [
        ("speed", f"{_range(said.tokens_per_second)} tok/s{together}"),
        ("first token", f"{_range([each / 1000 for each in said.ttft_ms])} s, after a prompt of {plural(prompt, 'token')}"),
        ("loading", f"{_range(said.load_seconds)} s"),
        ("bottleneck", said.bottleneck),
    ]


def _range(values: Sequence[float]) -> str:
    return " to ".join(f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 1 else f"{value:.2g}" for value in values)


def _shares(placed: Placement) -> Rows[Share]:
    return Rows(
        key="shares",
        items=placed.shares,
        columns={
            "worker": lambda share: str(share.endpoint or "this machine"),
            "layers": lambda share: str(share.layers),
            "weights": lambda share: gib(share.weight_bytes),
            "kv cache": lambda share: gib(share.kv_bytes),
            "compute": lambda share: gib(share.compute_bytes),
        },
    )


def _alternatives(placed: Placement) -> Rows[Alternative]:
    return Rows(
        key="alternatives",
        items=placed.alternatives,
        columns={"change": lambda each: each.change, "effect": lambda each: each.effect},
    )


def _document(model: Model, placed: Placement, context: int, slots: int) -> dict[str, object]:
    fields = {field.name: getattr(placed, field.name) for field in dataclasses.fields(placed)}
    dropped = [{"endpoint": endpoint, "why": why} for endpoint, why in placed.dropped]
    terms = [{"name": name, "seconds": seconds} for name, seconds in placed.prediction.terms]
    prediction = {field.name: getattr(placed.prediction, field.name) for field in dataclasses.fields(placed.prediction)} | {"terms": terms}
    return {
        "model": model.name,
        "engine": LLAMA_CPP,
        "context": context,
        "slots": slots,
        **fields,
        "dropped": dropped,
        "prediction": prediction,
    }
