"""plan: what would run where, does it fit, how fast, and why. Nothing is started."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import backends, models
from synaptic.commands.grammar import Choice, Complete
from synaptic.commands.plan_shown import alternatives_table, prediction_document
from synaptic.commands.plan_vllm import plan_vllm
from synaptic.commands.registry import registry
from synaptic.endpoint import DLLAMA_PORT, Endpoint, parse_list
from synaptic.errors import BackendError, EngineError, UsageError
from synaptic.models.model import LLAMA_CPP
from synaptic.results import Cell, Facts, Rows, gib, plural, spread

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
    """Several addresses as typed: a:50052,b:50052. `text`: for who has another port where none is named."""

    all: tuple[Endpoint, ...]
    text: str = dataclasses.field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Endpoints:
        good, bad = parse_list(text)
        if bad or not good:
            raise UsageError(bad[0] if bad else "no address is named", hint="such as --on 192.168.1.10,192.168.1.11:50053")
        return cls(tuple(good), text)


@registry.command("plan", group="models")
async def plan(
    session: Session,
    model: Annotated[str, Complete(models)],
    *,
    ctx: int | None = None,
    parallel: int | None = None,
    on: Annotated[Endpoints | None, Complete(backends)] = None,
    probe: bool = False,
    profile: str | None = None,
    split: Annotated[str | None, Choice("tensor", "layers", "none")] = None,
) -> Facts:
    """Show what would run where, whether it fits, how fast it would be, and why. Nothing is started.

    Over all workers that are ready, or those named with --on; with no worker, on this machine. --ctx is the tokens
    of one conversation, --parallel how many answers are written at once; without them the settings count. --probe first
    measures each worker for a few seconds with llama-bench: without that, speeds are assumed, and the ranges are wide.

    A .m model, or demo where llama.cpp is not installed, goes over the known dllama workers, in runs of layers or as shares
    of every layer, whichever is faster by the speed that `dllama check --verify` measured; --split asks for one of them, or
    for this machine alone.

    With --profile it is about the machines of a hardware profile. For its vLLM (MODEL is the profile's own, or vllm, or a
    folder with a config.json) it weighs cutting tensors against cutting layers by the links between the machines.

        plan demo
        plan llama-3.1-70b-q4_k_m --ctx 16384 --parallel 2
        plan demo --on 192.168.1.10,192.168.1.11 --probe
        plan config/demo/demo-q40.m --split layers
        plan vllm --profile arc-a770 --parallel 8

    See also: explain, model show, rpc list
    """
    _check(ctx, parallel)
    if profile and (shown := await plan_vllm(session, profile, model, ctx, parallel)):
        return shown
    now = session.settings.now
    ctx, slots = ctx or now.context, parallel or now.parallel or 1
    chosen = await session.answering.find(model, via=LLAMA_CPP if profile or probe else None)  # as a prompt for it would go
    if session.dllama_routes.can(chosen):
        return await _of_dllama(session, chosen, ctx, on, split, parallel=parallel or 1, probe=probe, profile=profile)
    if split:
        raise UsageError(f"--split is for .m models, and {chosen.name} is none", hint=f"try: plan {model}")
    machines = await _machines(session, on, profile, probe=probe)
    return await _over_layers(session, chosen, machines, ctx, slots)


async def _machines(session: Session, on: Endpoints | None, profile: str | None, *, probe: bool) -> Sequence[Machine]:
    if profile:
        return await asyncio.to_thread(_written_down, session, profile)
    workers = await _workers(session, on)
    if probe:
        await _measure(session, workers)
    return await asyncio.to_thread(machines_now, session, workers)


async def _over_layers(session: Session, chosen: Model, machines: Sequence[Machine], ctx: int | None, slots: int) -> Facts:
    from synaptic.planning.placement import place
    from synaptic.planning.plan import context_of
    from synaptic.planning.shape import Shape

    header = await asyncio.to_thread(session.catalog.header, chosen)
    context, is_shipped, kv_type = context_of(chosen, ctx), chosen.is_shipped, session.settings.now.kv_type
    placed = await asyncio.to_thread(
        lambda: place(Shape.of(header), machines, context=context, slots=slots, must_use_all=is_shipped, kv_type=kv_type)
    )
    prediction = await asyncio.to_thread(session.predictions.corrected, chosen.name, placed.prediction)
    return _shown(chosen, dataclasses.replace(placed, prediction=prediction), context, slots, _notes(placed, machines))


async def _of_dllama(
    session: Session,
    model: Model,
    ctx: int | None,
    on: Endpoints | None,
    split: str | None,
    *,
    parallel: int,
    probe: bool,
    profile: str | None,
) -> Facts:
    from synaptic.commands.plan_dllama import plan_of_dllama

    if probe or profile:
        raise UsageError("--probe and --profile are for llama.cpp", hint="dllama check --verify measures dllama workers")
    if parallel > 1:
        raise UsageError("a dllama root answers one at a time", hint="leave --parallel out")
    named = parse_list(on.text, DLLAMA_PORT)[0] if on else []
    return await plan_of_dllama(session, model, ctx, named, split)


def machines_now(session: Session, workers: Sequence[Backend]) -> list[Machine]:
    """Ready workers, or without any this machine, with what is known of their speed and memory now. Reads files and the system."""
    here, machines = session.machines(workers)
    return machines or [here]


def _written_down(session: Session, profile: str) -> list[Machine]:
    """Those of a hardware profile; UsageError when it has none."""
    from synaptic.deploy.profile.machines import machines
    from synaptic.deploy.profile.profiles import Profiles

    found = machines(Profiles.of(session.environment).profile(profile))
    if not found:
        raise UsageError(f"{profile} has no machine for llama.cpp", hint="name nodes below roles.llama_rpc")
    return found


def _check(ctx: int | None, parallel: int | None) -> None:
    if ctx is not None and not 1 <= ctx <= 1 << 24:
        raise UsageError(f"--ctx {ctx} is no number of tokens", hint="such as --ctx 8192")
    if parallel is not None and not 1 <= parallel <= MOST_SLOTS:
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
        tables.append(("alternatives", alternatives_table(placed.alternatives)))
    return Facts(facts, _document(model, placed, context, slots), tables, notes)


def _verdict(model: Model, placed: Placement) -> Cell:
    holders = [share for share in placed.shares if share.layers]
    where = plural(len(holders), "worker") if holders and holders[0].endpoint else "this machine"
    if placed.fits:
        free = f"{gib(placed.available_bytes)} free" if placed.available_bytes else "what is held there now"  # which is not asked
        return Cell(f"{model.name} fits on {where}: {gib(placed.need_bytes)} of {free}", "good")
    return Cell(f"{model.name} does not fit: {gib(placed.need_bytes)} needed, {gib(placed.missing_bytes)} missing", "bad")


def _prediction(placed: Placement, prompt: int, slots: int) -> list[tuple[str, str | Cell]]:
    said = placed.prediction
    together = f" for {slots} answers together" if slots > 1 else ""
    learned = f", as {plural(said.learned_from, 'measurement')} on the same machines taught" if said.learned_from else ""
    return [
        ("speed", f"{spread(*said.tokens_per_second)} tok/s{together}{learned}"),
        ("first token", f"{spread(*(each / 1000 for each in said.ttft_ms))} s, after a prompt of {plural(prompt, 'token')}"),
        ("loading", f"{spread(*said.load_seconds)} s"),
        ("bottleneck", said.bottleneck),
    ]


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


def _document(model: Model, placed: Placement, context: int, slots: int) -> dict[str, object]:
    fields = {field.name: getattr(placed, field.name) for field in dataclasses.fields(placed)}
    dropped = [{"endpoint": endpoint, "why": why} for endpoint, why in placed.dropped]
    return {
        "model": model.name,
        "engine": LLAMA_CPP,
        "context": context,
        "slots": slots,
        **fields,
        "dropped": dropped,
        "prediction": prediction_document(placed.prediction),
    }
