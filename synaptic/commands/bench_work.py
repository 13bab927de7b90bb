"""bench run at work: one is measured, or two in turns; what came of each is kept, and learned from."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic import __version__
from synaptic.bench.load.measurement import WARM_UP, Asking, Measurement, in_turns
from synaptic.bench.result import Identity, Result
from synaptic.bench.telemetry.this_machine import ThisMachine
from synaptic.bench.telemetry.watch import merged
from synaptic.commands.bench_surroundings import Preflight, learn, watched, watches
from synaptic.errors import SynapticError
from synaptic.events import Noticed, Work

if TYPE_CHECKING:
    from synaptic.commands.bench_subject import Subject
    from synaptic.deploy.profile.profile import Profile
    from synaptic.results import Json
    from synaptic.session import Session


@dataclasses.dataclass(frozen=True)
class Bench:
    """How it is measured. `path` None: it is kept in the state folder, under its id."""

    asking: Asking
    slots: int
    preflight: str
    profile: Profile | None
    path: Path | None
    watch: bool


@dataclasses.dataclass(frozen=True)
class Kept:
    """`path` None: there is no folder for it."""

    result: Result
    path: Path | None


async def measure(session: Session, bench: Bench, subjects: Sequence[Subject]) -> list[Kept]:
    """One result for each, also of what was measured before an interruption. Raises SynapticError."""
    before = Preflight(session, bench.preflight)
    await before.check(*subjects)
    with session.bus.work("measuring") as work:
        tell = _teller(work, len(subjects))
        measurements = [Measurement(_asking(bench, number), each.asked, tell(number)) for number, each in enumerate(subjects)]
        here, complete = ThisMachine(), False
        others = [await watches(session, subject, bench.profile, nodes=bench.watch) for subject in subjects]
        try:
            async with here, watched([each for watches in others for each in watches]):
                await in_turns(measurements)
            complete = True
        finally:
            told = {"preflight": await before.as_json()}
            seen = [merged([each.as_json() for each in (here, *others[number])]) for number in range(len(subjects))]
            results = [
                dataclasses.replace(_result(bench, *each, told), complete=complete)
                for each in zip(subjects, measurements, seen, strict=True)
            ]
            kept = [Kept(result, _keep(session, result, bench.path)) for result in _named(results)]
    if complete:
        for each in kept:
            await asyncio.to_thread(learn, session, each.result, bench.profile)
    return kept


def _asking(bench: Bench, number: int) -> Asking:
    """Prompts of its own for each: what one asks may lie in a cache behind both."""
    return dataclasses.replace(bench.asking, seed=bench.asking.seed + number)


def _teller(work: Work, subjects: int) -> Callable[[int], Callable[[str, int, int], None]]:
    done = [0] * subjects

    def of(number: int) -> Callable[[str, int, int], None]:
        def tell(what: str, count: int, all_of_them: int) -> None:
            done[number] = count
            work.update(what, done=sum(done) or None, total=all_of_them * subjects or None, unit="requests")

        return tell

    return of


def _result(bench: Bench, subject: Subject, measurement: Measurement, seen: dict[str, Json], told: Mapping[str, Json]) -> Result:
    from synaptic.bench.explained import expectations
    from synaptic.bench.kept import new_id
    from synaptic.bench.sample import DEFINITIONS

    points, profile = measurement.points(), bench.profile
    return Result(
        id=new_id(),
        at=time.time(),
        tool=__version__,
        model=subject.model,
        profile=Identity(profile.name, profile.sha256, profile.version, "the hardware profile's file") if profile else None,
        software=subject.software,
        route=subject.route,
        config={**_config(measurement.asking, subject, bench.slots), **told},
        limits=bench.asking.limits,
        points=points,
        definitions=DEFINITIONS,
        telemetry=seen,
        prediction=expectations(subject.expectation, points) if subject.expectation else None,
    )


def _config(asking: Asking, subject: Subject, slots: int) -> dict[str, Json]:
    return {
        "mixes": list(dict.fromkeys(load.mix.name for load in asking.loads)),
        "requests": asking.requests,
        "repeats": asking.repeats,
        "seed": asking.seed,
        "warm_up": WARM_UP,
        "slots": slots,
        "context": subject.context,
    }


def _named(results: Sequence[Result]) -> list[Result]:
    """Each knows which other took turns with it."""
    if len(results) == 1:
        return [*results]
    ids = [each.id for each in results]
    others = [", ".join(name for name in ids if name != each.id) for each in results]
    return [dataclasses.replace(each, config={**each.config, "in_turns_with": other}) for each, other in zip(results, others, strict=True)]


def _keep(session: Session, result: Result, path: Path | None) -> Path | None:
    """Where it lies now; nothing where nothing was measured."""
    from synaptic.bench.kept import write

    state = session.environment.state_dir
    path = path or (state / "bench" / f"{result.id}.json" if state else None)
    if path is None or not result.points:
        return None
    try:
        write(result, path)
    except SynapticError:
        if result.complete:
            raise
        return None  # what interrupted it counts more
    if not result.complete:
        session.bus.publish(Noticed(text=f"what was measured so far is in {path}", attention=True))
    return path
