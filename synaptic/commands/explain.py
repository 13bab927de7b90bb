"""explain: the time of the last answer, or of a measurement, against what was predicted for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from synaptic.commands.bench_report import file_of, kept
from synaptic.commands.grammar import Complete
from synaptic.commands.registry import registry
from synaptic.errors import SynapticError, UsageError
from synaptic.planning.term import Term
from synaptic.results import Cell, Facts, Rows, plural, to_json
from synaptic.terminal import one_line

if TYPE_CHECKING:
    from synaptic.bench.explained import Busy, Explained
    from synaptic.bench.result import Result
    from synaptic.planning.advice import Fix
    from synaptic.planning.costmodel import Prediction
    from synaptic.planning.predictions import Measured, Record
    from synaptic.session import Session

Labelled = list[tuple[str, str | Cell]]


@registry.command("explain", group="models")
async def explain(
    session: Session,
    bench: Annotated[str | None, Complete(kept)] = None,
    *,
    mix: str | None = None,
    concurrency: int | None = None,
) -> Facts:
    """Show where the time of each token went: measured beside predicted, term by term; the bottleneck, and what would help.

    Of the last answer over workers, of llama.cpp or distributed-llama; or of BENCH, a measurement's id or file, of whose
    loads --mix and --concurrency choose one. What was measured corrects what plan says the next time.

        explain
        explain 20261121-155919-6fe915 --concurrency 1

    See also: plan, bench run, profile bump
    """
    if bench:
        return await _of_bench(session, bench, mix, concurrency)
    if mix or concurrency:
        raise UsageError("--mix and --concurrency choose one load of a measurement", hint="try: explain ID --concurrency 1")
    from synaptic.commands.explain_root import explained_root, is_newer, last_of_root

    record, answered = await asyncio.to_thread(session.predictions.last), last_of_root(session)
    if answered and is_newer(answered, record):
        return explained_root(answered)
    if record is None:
        raise SynapticError("no answer has been predicted and measured yet", hint="try: distributed on, then ask something")
    return await _of_answer(session, record)


async def _of_answer(session: Session, record: Record) -> Facts:
    from synaptic.bench.explained import busy_of
    from synaptic.commands.explain_root import bottleneck_of, is_of, last_of_root, root_facts, table_of, terms_of
    from synaptic.planning.advice import said_in_one_sentence

    said, fixes = record.prediction, await _fixes(session, record)
    document = to_json(record)
    assert isinstance(document, dict)
    corrected = await asyncio.to_thread(session.predictions.corrected, record.model, said)
    answered, rate = last_of_root(session), record.measured.tokens_per_second
    step = said.slots / rate if rate else None
    facts: Labelled = [("model", record.model), *_speeds(said, record.measured)]
    if answered and is_of(answered, record):
        terms = terms_of(said, answered, step * 1000 if step else None)
        bottleneck = bottleneck_of(terms)
        busy: tuple[Busy, ...] = ()
        facts += root_facts(answered)
        tables: list[tuple[str, Rows[Any]]] = [("terms", table_of(terms)), ("fixes", _table(fixes))]
        document |= {"root": to_json(answered), "terms": to_json(terms)}
    else:
        bottleneck, busy = said.bottleneck, busy_of(said, {})
        tables = _tables(said, step, busy, fixes)
    sentence = said_in_one_sentence(bottleneck, fixes) if fixes else bottleneck
    facts += [("bottleneck", sentence), ("next time", _next(corrected))]
    return Facts(facts, {**document, **_document(sentence, corrected, busy, fixes)}, tables)


async def _of_bench(session: Session, name: str, mix: str | None, concurrency: int | None) -> Facts:
    from synaptic.bench.explained import explained
    from synaptic.bench.kept import read
    from synaptic.planning.advice import said_in_one_sentence

    path = file_of(session, name)
    if not await asyncio.to_thread(path.exists) and path.suffix != ".json":  # `explain photosynthesis` is a question
        raise UsageError(f"no measurement is called {one_line(name, 60)}", hint="name the id or file of one", prefill=f"ask explain {name}")
    result = await asyncio.to_thread(read, path)
    found = _chosen(result, explained(result), mix, concurrency)
    corrected = await asyncio.to_thread(session.predictions.corrected, result.model.name, found.said)
    sentence = said_in_one_sentence(found.said.bottleneck, found.fixes)
    facts: Labelled = [
        ("measurement", f"{result.id}, {found.point.mix}, {found.point.load}"),
        ("model", result.model.name),
        *_speeds(found.said, found.measured),
        ("bottleneck", sentence),
        ("next time", _next(corrected)),
    ]
    if found.point.why_not:
        facts.append(("but", Cell(found.point.why_not, "attention")))
    document: dict[str, object] = {"model": result.model.name, "bench": result.id, "mix": found.point.mix, "load": found.point.load}
    document |= {"prediction": found.said, "measured": found.measured}
    tables = _tables(found.said, found.step, found.busy, found.fixes)
    return Facts(facts, {**document, **_document(sentence, corrected, found.busy, found.fixes)}, tables)


def _chosen(result: Result, known: list[Explained], mix: str | None, concurrency: int | None) -> Explained:
    """The one that is meant; of several, the one with fewest requests at once. Raises UsageError."""
    fitting = [each for each in known if mix in (None, each.point.mix) and concurrency in (None, each.point.concurrency)]
    if not known:
        raise UsageError(
            f"nothing was predicted for {result.id}: the machines behind it are not known", hint="measure a model over workers, or here"
        )
    if not fitting or len({each.point.mix for each in fitting}) > 1:
        loads = ", ".join(f"{each.point.mix} {each.point.load}" for each in known)
        raise UsageError(f"{result.id} has {loads}", hint="name one with --mix and --concurrency")
    return min(fitting, key=lambda each: each.point.concurrency or 0)


async def _fixes(session: Session, record: Record) -> tuple[Fix, ...]:
    """What would help now, as far as what answered is still up."""
    from synaptic.commands.bench_subject import expectation_of
    from synaptic.commands.explain_root import fixes_of_dllama
    from synaptic.planning.advice import advise
    from synaptic.planning.costmodel import COORDINATOR

    if all(term.what != COORDINATOR for term in record.prediction.terms):
        return await fixes_of_dllama(session, record.model)
    plan = next((each.plan for each in session.coordinators.up() if each.plan.model.name == record.model), None)
    expectation = await expectation_of(session, plan) if plan else None
    return advise(expectation) if expectation else ()


def _speeds(said: Prediction, came: Measured) -> Labelled:
    together = f" for {said.slots} answers together" if said.slots > 1 else ""
    return [
        ("speed", _against(came.tokens_per_second, said.tokens_per_second, f"tok/s{together}", more_is_better=True)),
        ("first token", _against(came.ttft_ms, said.ttft_ms, "ms", more_is_better=False)),
    ]


def _against(measured: float | None, predicted: tuple[float, float], unit: str, *, more_is_better: bool) -> Cell:
    low, high = predicted
    said = f"predicted {low:.1f} to {high:.1f}"
    if measured is None:
        return Cell(f"not measured, {said} {unit}", "dim")
    if low <= measured <= high:
        return Cell(f"{measured:.1f} {unit}, as {said}", "good")
    is_better = (measured > high) is more_is_better
    return Cell(f"{measured:.1f} {unit}, {'better' if is_better else 'worse'} than {said}", "good" if is_better else "attention")


def _next(corrected: Prediction) -> str:
    low, high = corrected.tokens_per_second
    if not corrected.learned_from:
        return f"{low:.1f} to {high:.1f} tok/s, as before"
    return (
        f"{low:.1f} to {high:.1f} tok/s: {corrected.learned:.2f} times the terms, as {plural(corrected.learned_from, 'measurement')} taught"
    )


def _document(sentence: str, corrected: Prediction, busy: Sequence[Busy], fixes: Sequence[Fix]) -> dict[str, object]:
    return {"bottleneck": sentence, "corrected": corrected, "busy": busy, "fixes": fixes}


def _tables(said: Prediction, step: float | None, busy: Sequence[Busy], fixes: Sequence[Fix]) -> list[tuple[str, Rows[Any]]]:
    return [("terms", _terms(said, step)), ("busy", _busy(busy)), ("fixes", _table(fixes))]


def _terms(said: Prediction, step: float | None) -> Rows[Term]:
    """Of one token of each answer at work; the last row is what no term accounts for."""
    rows = [*said.terms, *([Term("measured, beyond the terms", step - said.step)] if step else [])]
    return Rows(
        key="terms",
        items=rows,
        columns={
            "what": str,
            "ms": lambda term: f"{term.seconds * 1000:.2f}",
            "share": lambda term: f"{term.seconds / said.step:.0%}" if said.step else "–",
        },
    )


def _busy(busy: Sequence[Busy]) -> Rows[Busy]:
    return Rows(
        key="busy",
        items=busy,
        columns={
            "machine": lambda each: each.machine,
            "works, expected": lambda each: f"{each.expected:.0%} of the time",
            "busy, measured": lambda each: "not watched" if each.measured is None else f"{each.measured:.0%}",
        },
    )


def _table(fixes: Sequence[Fix]) -> Rows[Fix]:
    return Rows(
        key="fixes",
        items=fixes,
        columns={
            "change": lambda fix: fix.change,
            "costs": lambda fix: fix.effort,
            "tokens/s, predicted": lambda fix: f"{fix.gain - 1:+.0%}{f', {fix.answers} answers together' if fix.answers > 1 else ''}",
        },
        empty="nothing that would gain 5 %",
    )
