"""What tune does: finds what there is to try, measures it, keeps it, decides, and applies what the user agrees to."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic.bench.decisions import Decisions
from synaptic.bench.identity import identity_of
from synaptic.bench.kept import write
from synaptic.bench.preflight import findings, look
from synaptic.bench.result import Identity
from synaptic.bench.tune import candidates as candidates_of
from synaptic.bench.tune.candidates import Scene, with_latency, worth_measuring
from synaptic.bench.tune.kept import About, decision_of, measured, result_of
from synaptic.bench.tune.run import Budget, Tuning
from synaptic.bench.tune.trial import Trial
from synaptic.bench.tune.values import CONTEXT, PARALLEL, SPLIT, Candidate, Objective
from synaptic.bench.tune.verdict import Verdict, best, judged, longest
from synaptic.endpoint import Endpoint
from synaptic.errors import BackendError, EngineError, SynapticError, UsageError
from synaptic.events import Noticed, Work
from synaptic.models.model import LLAMA_CPP
from synaptic.planning.shape import Shape
from synaptic.results import plural

if TYPE_CHECKING:
    from synaptic.bench.decisions import Decision
    from synaptic.bench.tune.values import Visit
    from synaptic.cluster.backend import Backend
    from synaptic.planning.machine import Machine
    from synaptic.planning.plan import Plan
    from synaptic.session import Session

KNOCKS = 5  # handshakes with each worker, of which the quickest counts


@dataclasses.dataclass(frozen=True)
class Wish:
    """`tried`: the numbers that the user names; empty: what seems sensible. `only`: the workers to choose among; empty: all."""

    kind: str
    objective: Objective
    requests: int
    budget: Budget
    seed: int
    tried: tuple[int, ...] = ()
    only: tuple[Endpoint, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """`ids`: of the measurements that were kept, by the candidate's name."""

    wish: Wish
    now: Candidate
    verdicts: Sequence[Verdict]
    chosen: Verdict | None
    visits: Mapping[str, Sequence[Visit]]
    ids: Mapping[str, str]
    decision: Decision | None
    seconds: float
    discarded: int

    @property
    def settings(self) -> dict[str, object]:
        return dict(self.chosen.candidate.settings) if self.chosen else {}


async def tune(session: Session, model: str | None, wishes: Sequence[Wish]) -> list[Outcome]:
    """One after the other; each starts from what the one before proposes."""
    await _check(session, model, wishes)
    route = await session.answering.route(model, via=LLAMA_CPP)
    if route.plan is None or route.via != LLAMA_CPP:
        raise UsageError(f"{route.model.name} is not run by llama.cpp: there is nothing to tune", hint="see: model show NAME")
    await _make_way(session, route.plan)
    for finding in findings(await look()):
        session.bus.publish(Noticed(text=str(finding), attention=True))
    identity = await asyncio.to_thread(identity_of, route.plan.model)
    shape = Shape.of(await asyncio.to_thread(session.catalog.header, route.plan.model))
    plan, outcomes = route.plan, []
    for wish in wishes:
        scene = Scene(shape, await _machines(session, plan, wish), plan, wish.objective, session.settings.now.splits)
        outcomes.append(await _tuned(session, wish, scene, identity))
        plan = outcomes[-1].chosen.candidate.plan if outcomes[-1].chosen else plan
    return outcomes


async def _check(session: Session, model: str | None, wishes: Sequence[Wish]) -> None:
    """Says what tuning needs and is not there. Raises UsageError, EngineError."""
    found, rpc = await session.answering.find(model, via=LLAMA_CPP), session.know_backends().backends()
    if session.dllama_routes.can(found):
        raise UsageError(
            f"{found.name} is run by the built-in engine, by the measured speed of its workers; tune measures llama.cpp",
            hint=f"try: dllama check --verify, then: plan {model or found.name}",
        )
    session.engines.require("llama-server")
    if rpc or not any(wish.kind == SPLIT and not wish.only for wish in wishes):
        return
    lent = session.know_dllama().backends()
    but = f", only {plural(len(lent), 'dllama worker')}, for .m models" if lent else ""
    other = "; for the dllama workers: plan FILE.m" if lent else ""
    raise UsageError(
        f"tune splits models over rpc-servers, and none is known{but}", hint=f"try: rpc discover, or: worker start --count 2{other}"
    )


async def _make_way(session: Session, plan: Plan) -> None:
    """Nobody who is being answered is disturbed; what only rests on these workers is stopped. Raises EngineError."""
    up = [each for each in session.all_coordinators() if each.child.pid]
    if busy := [each.plan.model.name for each in up if each.is_busy]:
        raise EngineError(f"{', '.join(busy)} is answering: both would be slower", hint="wait for it, or press Ctrl-C there")
    gateway = session.faces.get("gateway")
    if gateway and gateway.url and not await session.confirm("the gateway is open: its clients wait or fail while this measures. go on?"):
        raise UsageError("nothing was measured: the gateway is open", hint="try: serve off, or a session of its own")
    for each in session.coordinators.up():
        shared = set(each.plan.workers) & set(plan.workers)
        if not shared and (each.entry.is_elsewhere or each.plan.model.name != plan.model.name):
            continue
        if each.entry.is_elsewhere:
            owner = each.entry.owner.pid
            raise EngineError(
                f"{each.plan.model.name} is run by process {owner}, on workers that tune needs",
                hint=f"try: coordinator stop {each.plan.model.name}",
            )
        session.bus.publish(Noticed(text=f"stopping {each.plan.model.name} while its configurations are measured"))
        await session.coordinators.stop(each.plan.model.name)


async def _machines(session: Session, plan: Plan, wish: Wish) -> list[Machine]:
    """That may hold the model: the workers, of which those of the plan must be ready; or this machine. Raises SynapticError."""
    if not plan.workers and wish.kind != SPLIT:
        return [session.machines([])[0]]
    pool = session.know_backends()
    rounds = [await pool.check(wish.only or None) for _ in range(KNOCKS)]
    ready = _ready(rounds[-1], wish.only or plan.workers)
    if not ready or not plan.workers:
        raise UsageError("there is nothing to split: the model runs on this machine alone", hint="try: distributed on")
    here, machines = await asyncio.to_thread(session.machines, ready)
    workers = with_latency(machines, [_quickest(each.endpoint, rounds) for each in ready])
    return workers if wish.only or wish.kind != SPLIT else [*workers, here]


def _ready(known: Sequence[Backend], needed: Sequence[Endpoint]) -> list[Backend]:
    """All that are; BackendError for one that is needed and is not."""
    if lost := next((each for each in known if not each.is_ready and each.endpoint in needed), None):
        raise BackendError(f"{lost.endpoint} is not ready: {lost.detail or lost.state.value}", hint="try: rpc check")
    return [each for each in known if each.is_ready]


def _quickest(endpoint: Endpoint, rounds: Sequence[Sequence[Backend]]) -> float:
    """Seconds of its shortest handshake: on a busy machine most of one is waiting for the processor."""
    found = [each.latency_ms for known in rounds for each in known if each.endpoint == endpoint and each.latency_ms]
    return min(found, default=0.0) / 1000


async def _tuned(session: Session, wish: Wish, scene: Scene, identity: Identity) -> Outcome:
    now = candidates_of.anchor(scene)
    candidates = worth_measuring(_found(wish, scene), now, wish.objective)
    with session.bus.work(f"tuning {wish.kind}") as work:
        told = _Told(work, wish.kind)
        trial = Trial(session.coordinators, wish.objective, wish.requests, told.inside)
        tuning = Tuning(now, candidates, wish.objective, trial, wish.budget, seed=wish.seed, tell=told.visit)
        complete = False
        try:
            if any(not each.why_not for each in candidates):
                await tuning.run()
            complete = True
        finally:
            with contextlib.suppress(SynapticError):
                await trial.end()
            about = About(wish.kind, identity, trial.build, wish.objective, wish.requests, wish.seed)
            ids = _keep(session, about, [now, *candidates], tuning, complete=complete)
    return _outcome(session, wish, about, now, candidates, tuning, ids)


def _found(wish: Wish, scene: Scene) -> list[Candidate]:
    if wish.kind == PARALLEL:
        return candidates_of.parallel(scene, wish.tried)
    return candidates_of.contexts(scene, wish.tried) if wish.kind == CONTEXT else candidates_of.splits(scene)


def _outcome(
    session: Session, wish: Wish, about: About, now: Candidate, candidates: Sequence[Candidate], tuning: Tuning, ids: Mapping[str, str]
) -> Outcome:
    known = [dataclasses.replace(each, why_not=each.why_not or tuning.left_out.get(each.name, "")) for each in candidates]
    verdicts = judged(now, known, tuning.visits, wish.objective)
    chosen = longest(verdicts) if wish.kind == CONTEXT else best(verdicts)
    decision = decision_of(about, now, verdicts, chosen, tuning.visits, ids) if tuning.visits else None
    _learn(session, about.model.name, [now, *known], tuning.visits, ids)
    if decision and (folder := _folder(session)):
        Decisions(folder / "decisions" / "decisions.json").add(decision)
    return Outcome(wish, now, verdicts, chosen, tuning.visits, ids, decision, tuning.seconds, tuning.discarded)


def _keep(session: Session, about: About, candidates: Sequence[Candidate], tuning: Tuning, *, complete: bool) -> dict[str, str]:
    """The ids of the measurements, one for each configuration that was visited; nothing without a folder."""
    folder = _folder(session)
    if folder is None:
        return {}
    ids: dict[str, str] = {}
    for candidate in candidates:
        if visits := tuning.visits.get(candidate.name):
            result = result_of(about, candidate, visits, complete=complete)
            with contextlib.suppress(SynapticError) if not complete else contextlib.nullcontext():
                write(result, folder / f"{result.id}.json")
                ids[candidate.name] = result.id
    if not complete and ids:
        names = ", ".join(f"{identity} ({name})" for name, identity in ids.items())
        session.bus.publish(Noticed(text=f"it ended early; what was measured so far is kept: {names}", attention=True))
    return ids


def _learn(
    session: Session, model: str, candidates: Sequence[Candidate], visits: Mapping[str, Sequence[Visit]], ids: Mapping[str, str]
) -> None:
    """What was predicted beside what came."""
    for candidate in candidates:
        came = measured(candidate, visits.get(candidate.name, ()))
        if candidate.prediction and came and candidate.name in ids:
            with contextlib.suppress(SynapticError):
                session.predictions.record(model, candidate.prediction, came, source=ids[candidate.name])


def _folder(session: Session) -> Path | None:
    state = session.environment.state_dir
    return state / "bench" if state else None


class _Told:
    """Two voices, one line: which visit it is, and what is done in it."""

    def __init__(self, work: Work, kind: str) -> None:
        self._work = work
        self._kind = kind
        self._what, self._done, self._of = "", 0, 0

    def visit(self, what: str, done: int, of: int) -> None:
        self._what, self._done, self._of = what, done, of
        self._tell("")

    def inside(self, what: str) -> None:
        self._tell(f", {what}")

    def _tell(self, more: str) -> None:
        self._work.update(f"tuning {self._kind}: {self._what}{more}", done=self._done, total=self._of or None, unit="visits")
