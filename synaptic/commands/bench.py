"""bench run: measure how fast answers come, so that one can stand on it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import models
from synaptic.commands.grammar import Choice, Complete, Completion
from synaptic.commands.numbers import Numbers
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.files import path_of
from synaptic.models.model import ENGINES
from synaptic.results import Facts

if TYPE_CHECKING:
    from synaptic.bench.load.measurement import Asking
    from synaptic.bench.load.mixes import Mix
    from synaptic.commands.bench_subject import Subject
    from synaptic.commands.bench_work import Kept
    from synaptic.deploy.profile.profile import Profile
    from synaptic.session import Session

MOST = 10_000  # requests of one repeat
USUAL = 20
MOST_AT_ONCE = 1024


def _engines(session: Session) -> list[Completion]:
    return [(name, "an engine") for name in ENGINES]


@registry.command("bench run", group="measure")
async def run(
    session: Session,
    *,
    model: Annotated[str | None, Complete(models)] = None,
    mix: str = "short",
    requests: int | None = None,
    concurrency: Numbers | None = None,
    rate: float | None = None,
    repeats: int = 3,
    via: Annotated[str | None, Choice(*ENGINES)] = None,
    endpoint: str | None = None,
    against: Annotated[str | None, Complete(_engines)] = None,
    key_env: str | None = None,
    slots: int = 1,
    limits: str | None = None,
    profile: str | None = None,
    seed: int = 1,
    preflight: Annotated[str, Choice("warn", "refuse", "skip")] = "warn",
    watch: bool = False,
    out: str | None = None,
) -> Facts:
    """Measure how fast answers come: time to the first token, between tokens, tokens/s, and how many are good enough.

    Where a prompt for the model goes now, or at the server --endpoint. Prompts are unique, each load is warmed up first,
    and repeated in turns. What else this machine does is told before. Ctrl-C keeps what was measured.

    A mix is short (32 tokens → 64), long (1500 → 256), code (256 → 512), chat, custom:FILE with lines of
    {"prompt": "…", "max_tokens": 64}, or trace:FILE, requests at the times of a recorded load: lines of {"timestamp": ms,
    "input_length": 512, "output_length": 64} as Mooncake's traces have them, or Azure's CSV; several with commas.

    --against names a second one, by its address or its engine: both take turns in each repeat, so that what drifts touches
    both; two measurements are kept, and the ratio of each figure is shown with its interval and whether it is more than chance.

    With --rate it stops where requests come faster than they are answered. With --watch it asks node_exporter on the
    other machines, or by ssh where --profile names them.

        bench run --model demo --requests 20 --concurrency 1,2
        bench run --mix code --rate 0.5 --limits 2000/100
        bench run --mix trace:conversations.jsonl --profile beefcake --watch
        bench run --endpoint http://10.0.0.5:8000 --out before.json
        bench run --model demo --via llama.cpp --against http://10.0.0.5:8080

    See also: bench report, bench compare, explain, targets check
    """
    from synaptic.commands.bench_work import Bench, measure

    _check_who(endpoint, via, against, out)
    asking = _asking(mix, requests, concurrency, rate, repeats, seed, limits, slots)
    known = await asyncio.to_thread(_profile, session, profile) if profile else None
    async with contextlib.AsyncExitStack() as stack:
        subjects = [await stack.enter_async_context(_subject(session, model, endpoint, via, key_env, slots))]
        if against:
            where, engine = (None, against) if against in ENGINES else (against, None)
            subjects.append(await stack.enter_async_context(_subject(session, model, where, engine, None, slots)))
        _check_subjects(asking, subjects)
        kept = await measure(session, Bench(asking, slots, preflight, known, path_of(out) if out else None, watch), subjects)
    return _shown(kept)


@contextlib.asynccontextmanager
async def _subject(
    session: Session, model: str | None, endpoint: str | None, via: str | None, key_env: str | None, slots: int
) -> AsyncIterator[Subject]:
    from synaptic.commands.bench_subject import at_endpoint, on_route

    if endpoint:
        yield await at_endpoint(session, endpoint, model, key_env)
    else:
        async with on_route(session, model, via, slots) as found:
            yield found


def _shown(kept: list[Kept]) -> Facts:
    """One as its report, two as their comparison."""
    from synaptic.bench.report.compared import against
    from synaptic.bench.report.tables import notes, shown

    files = [str(each.path or "nowhere: there is no folder for it") for each in kept]
    if len(kept) == 1:
        facts = shown(kept[0].result)
        return dataclasses.replace(facts, facts=[*facts.facts, ("file", files[0])])
    facts = against(kept[0].result, kept[1].result)
    said = dict.fromkeys(line for each in kept for line in (notes(each.result) or "").splitlines())
    document = {**facts.data, "files": files}
    return dataclasses.replace(facts, facts=[*facts.facts, ("files", ", ".join(files))], data=document, summary="\n".join(said) or None)


def _check_who(endpoint: str | None, via: str | None, against: str | None, out: str | None) -> None:
    if endpoint and via:
        raise UsageError("--endpoint names a server and --via an engine: give one of them")
    if against and out:
        raise UsageError("--out names one file, and with --against there are two measurements", hint="both are kept under their ids")
    if against and against not in ENGINES and not set(against) & set(".:/"):
        raise UsageError(f"--against is the address of a server or an engine, not {against}", hint=f"engines: {', '.join(ENGINES)}")


def _asking(
    mix: str,
    requests: int | None,
    concurrency: Numbers | None,
    rate: float | None,
    repeats: int,
    seed: int,
    limits: str | None,
    slots: int,
) -> Asking:
    """What the flags of `bench run` mean. Raises UsageError."""
    from synaptic.bench.limits import USUAL as USUAL_LIMITS
    from synaptic.bench.limits import limits_of
    from synaptic.bench.load.measurement import Asking, Load
    from synaptic.bench.load.mixes import Mix

    if not (1 <= (USUAL if requests is None else requests) <= MOST and 1 <= repeats <= 100 and 1 <= slots <= 64):
        raise UsageError(f"--requests is 1 to {MOST}, --repeats 1 to 100, --slots 1 to 64")
    _check_load(rate, concurrency)
    mixes = [Mix.parse(word.strip()) for word in mix.split(",")]
    loads = tuple(Load(kind, count, rate) for kind in mixes for count in _at_once(kind, rate, concurrency))
    if requests is None:  # a trace is sent again as long as it is
        requests = min(MOST, max((len(kind.arrivals) for kind in mixes), default=0) or USUAL)
    return Asking(tuple(dict.fromkeys(loads)), requests, repeats, seed, limits_of(limits or USUAL_LIMITS))


def _check_load(rate: float | None, concurrency: Numbers | None) -> None:
    if rate is not None and not 0 < rate <= 1000:
        raise UsageError("--rate is requests a second, more than 0 and up to 1000", hint="such as --rate 0.5")
    if concurrency and concurrency.most > MOST_AT_ONCE:
        raise UsageError(f"--concurrency is 1 to {MOST_AT_ONCE}")
    if rate is not None and concurrency:
        raise UsageError("--rate or --concurrency, not both", hint="measure one after the other")


def _at_once(mix: Mix, rate: float | None, concurrency: Numbers | None) -> tuple[int | None, ...]:
    if rate is not None or (mix.arrivals and not concurrency):
        return (None,)
    return concurrency.all if concurrency else (1,)


def _check_subjects(asking: Asking, subjects: list[Subject]) -> None:
    from synaptic.bench.compare import differ

    longest = max(asking.loads, key=lambda load: load.mix.longest).mix
    for subject in subjects:
        if subject.context and longest.longest > subject.context:
            raise UsageError(
                f"the mix {longest.name} needs {longest.longest} tokens of context, and {subject.model.name} has {subject.context}",
                hint="try: --mix short, or: config set context N",
            )
    a, b = subjects[0].model, subjects[-1].model
    if differ(a, b):
        raise UsageError(
            f"two models are no comparison: {a.name} at {subjects[0].software.where}, and {b.name} at {subjects[-1].software.where}",
            hint="name one that both have with --model, or measure one after the other: bench compare A B --force",
        )


def _profile(session: Session, name: str) -> Profile:
    from synaptic.deploy.profile.profiles import Profiles

    return Profiles.of(session.environment).profile(name)
