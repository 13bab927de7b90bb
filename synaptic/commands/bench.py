"""bench run: measure how fast answers come, so that one can stand on it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from synaptic import __version__
from synaptic.commands.complete import models
from synaptic.commands.grammar import Choice, Complete
from synaptic.commands.registry import registry
from synaptic.errors import SynapticError, UsageError
from synaptic.events import Noticed
from synaptic.models.model import ENGINES
from synaptic.results import Facts

if TYPE_CHECKING:
    from synaptic.bench.load import Asking, Measurement
    from synaptic.bench.result import Identity, Result
    from synaptic.bench.telemetry import Telemetry
    from synaptic.commands.bench_asked import Subject
    from synaptic.session import Session

MOST = 10_000  # requests of one repeat
MOST_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Concurrencies:
    """Several numbers as typed: 1,2,4."""

    all: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Concurrencies:
        words = [word.strip() for word in text.split(",")]
        if not all(word.isdecimal() and 1 <= int(word[:6]) <= MOST_AT_ONCE for word in words):
            raise UsageError("how many requests at once is a list of numbers", hint="such as --concurrency 1,2,4")
        return cls(tuple(dict.fromkeys(int(word) for word in words)))


@registry.command("bench run", group="measure")
async def run(
    session: Session,
    *,
    model: Annotated[str | None, Complete(models)] = None,
    mix: str = "short",
    requests: int = 20,
    concurrency: Concurrencies | None = None,
    rate: float | None = None,
    repeats: int = 3,
    via: Annotated[str | None, Choice(*ENGINES)] = None,
    endpoint: str | None = None,
    key_env: str | None = None,
    slots: int = 1,
    limits: str | None = None,
    profile: str | None = None,
    seed: int = 1,
    out: str | None = None,
) -> Facts:
    """Measure how fast answers come: time to the first token, between tokens, tokens/s, and how many are good enough.

    Where a prompt for --model goes now, by the engine --via, or at the server --endpoint URL (its key in the variable
    --key-env). --mix is short (32 tokens → 64), long (1500 → 256), code (256 → 512), chat, or custom:FILE with lines of
    {"prompt": "…", "max_tokens": 64}; several with commas. --concurrency 1,2,4 keeps so many requests at work; --rate R
    sends R a second, at random times, however long they take. Prompts are unique, each load is warmed up first, and
    repeated in turns. --limits, by name or as TTFT/TPOT in ms, is what a good answer keeps. --slots is how many answers
    the model is loaded for at once. Ctrl-C keeps what was measured; --out names the file.

        bench run --model demo --requests 20 --concurrency 1,2
        bench run --mix code --rate 0.5 --limits 2000/100
        bench run --endpoint http://10.0.0.5:8000 --out before.json

    See also: bench report, bench compare, targets check
    """
    from synaptic.commands.bench_asked import at_endpoint, on_route

    if endpoint and via:
        raise UsageError("--endpoint names a server, --via an engine: one of them, please")
    asking = _asking(mix, requests, concurrency, rate, repeats, seed, limits, slots)
    identity = await asyncio.to_thread(_profile, session, profile) if profile else None
    path = Path(out).expanduser() if out else None

    @contextlib.asynccontextmanager
    async def subject() -> AsyncIterator[Subject]:
        if endpoint:
            yield await at_endpoint(session, endpoint, model, key_env)
        else:
            async with on_route(session, model, via, slots) as found:
                yield found

    async with subject() as found:
        _check_context(asking, found)
        return await _measure(session, asking, found, identity, path, slots)


async def _measure(session: Session, asking: Asking, subject: Subject, profile: Identity | None, path: Path | None, slots: int) -> Facts:
    from synaptic.bench.load import Measurement
    from synaptic.bench.tables import shown
    from synaptic.bench.telemetry import Telemetry

    with session.bus.work("measuring") as work:
        measurement = Measurement(
            asking, subject.asked, lambda what, done, of: work.update(what, done=done or None, total=of or None, unit="requests")
        )
        telemetry, complete = Telemetry(), False
        try:
            async with telemetry:
                await measurement.run()
            complete = True
        finally:
            result = _result(asking, subject, profile, measurement, telemetry, slots)
            kept = _keep(session, dataclasses.replace(result, complete=complete), path)
    facts = shown(dataclasses.replace(result, complete=True))
    return dataclasses.replace(facts, facts=[*facts.facts, ("file", str(kept or "nowhere: there is no folder for it"))])


def _result(
    asking: Asking, subject: Subject, profile: Identity | None, measurement: Measurement, telemetry: Telemetry, slots: int
) -> Result:
    from synaptic.bench.load import WARM_UP
    from synaptic.bench.result import Result
    from synaptic.bench.sample import DEFINITIONS

    return Result(
        id=f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}",
        at=time.time(),
        tool=__version__,
        model=subject.model,
        profile=profile,
        software=subject.software,
        route=subject.route,
        config={
            "mixes": list(dict.fromkeys(load.mix.name for load in asking.loads)),
            "requests": asking.requests,
            "repeats": asking.repeats,
            "seed": asking.seed,
            "warm_up": WARM_UP,
            "slots": slots,
            "context": subject.context,
        },
        limits=asking.limits,
        shapes=measurement.shapes(),
        definitions=DEFINITIONS,
        telemetry=telemetry.as_json(),
        prediction=subject.prediction,
    )


def _keep(session: Session, result: Result, path: Path | None) -> Path | None:
    """Where it lies now; nothing where nothing was measured."""
    from synaptic.bench.kept import write

    state = session.environment.state_dir
    path = path or (state / "bench" / f"{result.id}.json" if state else None)
    if path is None or not result.shapes:
        return None
    try:
        write(result, path)
    except SynapticError:
        if result.complete:
            raise
        return None  # what interrupted it counts more
    if not result.complete:
        session.bus.publish(Noticed(text=f"interrupted; what was measured so far is in {path}", attention=True))
    return path


def _asking(
    mix: str, requests: int, concurrency: Concurrencies | None, rate: float | None, repeats: int, seed: int, limits: str | None, slots: int
) -> Asking:
    """Raises UsageError."""
    from synaptic.bench.limits import USUAL, limits_of
    from synaptic.bench.load import Asking, Load
    from synaptic.bench.mixes import Mix

    if not (1 <= requests <= MOST and 1 <= repeats <= 100 and 1 <= slots <= 64):
        raise UsageError(f"--requests is 1 to {MOST}, --repeats 1 to 100, --slots 1 to 64")
    if rate is not None and not 0 < rate <= 1000:
        raise UsageError("--rate is requests a second, more than 0 and up to 1000", hint="such as --rate 0.5")
    if rate is not None and concurrency:
        raise UsageError("--rate or --concurrency, not both", hint="measure one after the other")
    mixes = [Mix.parse(word.strip()) for word in mix.split(",")]
    each = concurrency.all if concurrency else (1,)
    loads = tuple(Load(kind, None if rate else count, rate) for kind in mixes for count in ((1,) if rate else each))
    return Asking(tuple(dict.fromkeys(loads)), requests, repeats, seed, limits_of(limits or USUAL))


def _check_context(asking: Asking, subject: Subject) -> None:
    longest = max(asking.loads, key=lambda load: load.mix.longest).mix
    if subject.context and longest.longest > subject.context:
        raise UsageError(
            f"the mix {longest.name} needs {longest.longest} tokens of context, and {subject.model.name} has {subject.context}",
            hint="try: --mix short, or: config set context N",
        )


def _profile(session: Session, name: str) -> Identity:
    from synaptic.bench.result import Identity
    from synaptic.deploy.profiles import Profiles

    found = Profiles.of(session.environment).profile(name)
    return Identity(found.name, found.sha256, found.version, "the hardware profile's file")
