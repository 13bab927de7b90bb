"""verify: whether every way to a model computes the same; and which worker does not."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.complete import models
from synaptic.commands.grammar import Complete
from synaptic.commands.registry import registry
from synaptic.errors import BackendError, EngineError, UsageError
from synaptic.models.model import LLAMA_CPP
from synaptic.results import Cell, Rows, Style

if TYPE_CHECKING:
    from synaptic.bench.verify.culprits import Blamed
    from synaptic.cluster.backend import Backend
    from synaptic.commands.verify_ways import Way, Ways
    from synaptic.endpoint import Endpoint
    from synaptic.session import Session

QUESTION = "Explain in a few sentences what a worker does."
REFERENCE = "what the others are compared with"


@registry.command("verify", group="measure")
async def verify(
    session: Session,
    model: Annotated[str | None, Complete(models)] = None,
    *,
    prompt: str = QUESTION,
    tokens: int = 32,
    no_others: bool = False,
) -> Rows[Way]:
    """Ask the same greedy prompt by every way to a model, compare tokens and their likelihoods, and name a worker that is wrong.

    On this machine alone, over all workers that are ready, at the servers that have it too, and by distributed-llama
    where there is a file for that (--no-others: by llama.cpp alone). Whoever computes what nobody rounds to is found by
    leaving each worker out. Without MODEL the shipped one: it is small, and tests the same arithmetic. What is up on
    these workers is stopped first, unless it is answering. The exit code is 1 when something is wrong.

        verify
        verify llama-3.1-8b --tokens 64

    See also: rpc check, bench run
    """
    from synaptic.commands.verify_ways import Ways

    if not 1 <= tokens <= 1024:
        raise UsageError("--tokens is 1 to 1024")
    session.know_backends()
    chosen = await asyncio.to_thread(session.catalog.find, model or "demo")
    if LLAMA_CPP not in chosen.engines:
        raise EngineError(f"llama.cpp cannot run {chosen.name}", hint="verify compares with what llama.cpp computes: name a GGUF model")
    ways = Ways(session, chosen, prompt, tokens)
    workers = [worker for worker in await session.pool.check() if worker.is_ready]
    try:
        reference, others = await _asked(session, ways, workers, no_others=no_others)
        found = [_compared(reference, way) for way in others]
        blamed = await _blame(session, ways, workers, reference, found)
    finally:
        with contextlib.suppress(EngineError):
            await ways.end()
    return _rows(ways, [dataclasses.replace(reference, why=REFERENCE), *found], blamed)


async def _asked(session: Session, ways: Ways, workers: Sequence[Backend], *, no_others: bool) -> tuple[Way, list[Way]]:
    with session.bus.work("asking on this machine"):
        reference = await ways.here()
    found = []
    for group in ways.groups(workers):
        with session.bus.work(f"asking over {', '.join(str(worker.endpoint) for worker in group)}"):
            found.append(await ways.over(group))
    if not no_others:
        with session.bus.work("asking others"):
            found += await ways.others()
    if not found:
        raise BackendError("there is nothing to compare: no worker is ready, and no server has it", hint="try: rpc discover, or: rpc check")
    return reference, found


async def _blame(session: Session, ways: Ways, workers: Sequence[Backend], reference: Way, found: list[Way]) -> list[Blamed]:
    """For each group of workers that was wrong together."""
    from synaptic.bench.verify.agreement import WRONG
    from synaptic.bench.verify.culprits import culprits

    known = {worker.endpoint: worker for worker in workers}

    async def is_right(some: tuple[Endpoint, ...]) -> bool | None:
        with session.bus.work(f"asking over {', '.join(map(str, some))} alone"):
            way = _compared(reference, await ways.over([known[endpoint] for endpoint in some]))
        return None if way.agreement is None else way.agreement.verdict != WRONG

    wrong = [way for way in found if way.workers and way.agreement and way.agreement.verdict == WRONG]
    return [await culprits(way.workers, is_right) for way in wrong]


def _compared(reference: Way, way: Way) -> Way:
    from synaptic.bench.verify.agreement import agreement

    if way.written is None or reference.written is None:
        return way
    return dataclasses.replace(way, agreement=agreement(reference.written, way.written))


def _rows(ways: Ways, found: list[Way], blamed: list[Blamed]) -> Rows[Way]:
    from synaptic.bench.verify.agreement import WRONG

    is_wrong = any(way.agreement and way.agreement.verdict == WRONG for way in found)
    guilty = [str(worker) for each in blamed for worker in each.workers]
    unasked = [way.name for way in found if way.workers and way.written is None]
    return Rows(
        key="ways",
        items=found,
        columns={
            "way": lambda way: way.name,
            "verdict": _verdict,
            "largest difference": lambda way: "–" if not way.agreement or way.agreement.gap is None else f"{way.agreement.gap:.2g}",
            "differs from token": lambda way: "–" if not way.agreement or way.agreement.at is None else str(way.agreement.at + 1),
            "said": lambda way: " ".join(way.written.text.split())[:60] if way.written else way.why,
        },
        data={"model": ways.model.name, "prompt": ways.question, "wrong": guilty, "agrees": not is_wrong},
        summary=_sentence(guilty, blamed, unasked, is_wrong=is_wrong),
        exit_code=int(is_wrong or bool(unasked)),
    )


def _sentence(guilty: list[str], blamed: list[Blamed], unasked: list[str], *, is_wrong: bool) -> str:
    if not is_wrong and unasked:
        return f"nothing is known of {', '.join(unasked)}"
    if not is_wrong:
        return "all that could be compared agree"
    if not guilty:
        return "a server computes something else: is it the same file of the model?"
    verb = "computes" if len(guilty) == 1 else "compute"
    doubt = "" if all(each.is_certain for each in blamed) else ", or one of them"
    return f"{', '.join(guilty)} {verb} wrongly{doubt}: rpc remove {guilty[0]} leaves it out"


def _verdict(way: Way) -> Cell:
    styles: dict[str, Style] = {"same": "good", "rounding": "good", "wrong": "bad", "unlike": "attention"}
    word = way.agreement.verdict if way.agreement else ("reference" if way.why == REFERENCE else "not asked")
    return Cell(word, styles.get(word, "dim"))
