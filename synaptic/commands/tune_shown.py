"""What tuning found, as tables and JSON; and the question whether to apply it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synaptic.bench.tune.kept import describe, measured, prediction_error
from synaptic.bench.tune.values import CONTEXT, Candidate
from synaptic.bench.tune.verdict import BETTER, BREAKS, WORSE, Verdict, kept_within, summary
from synaptic.results import Cell, Facts, Json, Rows, Style, gib, number, plural, spread, to_json
from synaptic.settings.splits import Split

if TYPE_CHECKING:
    from synaptic.commands.tune_work import Outcome
    from synaptic.session import Session

_STYLES: dict[str, Style] = {BETTER: "good", WORSE: "dim", BREAKS: "attention"}


async def applied(session: Session, outcomes: Sequence[Outcome]) -> bool:
    """Whether the user agreed, and it is saved now. Where nobody can be asked nothing changes."""
    from synaptic.services import cannot_ask

    settings = _settings(outcomes)
    if not settings or session.confirm is cannot_ask:
        return False
    if not await session.confirm(f"{'; '.join(_proposals(outcomes))}. apply that?"):
        return False
    await session.save(**settings)
    return True


def shown(outcomes: Sequence[Outcome], *, is_applied: bool) -> Facts:
    settings = _settings(outcomes)
    proposal = "; ".join(_proposals(outcomes)) or f"none: {_why_none(outcomes)}"
    facts: list[tuple[str, str | Cell]] = []
    for each in outcomes:
        facts += _facts(each, is_only=len(outcomes) == 1)
    state = " (applied; the next prompt loads it so)" if is_applied else ""
    facts.append(("proposal", Cell(f"{proposal}{state}", "good" if settings else "")))
    document: dict[str, Json] = {
        "tunings": [_document(each) for each in outcomes],
        "proposal": to_json(settings) if settings else None,
        "applied": is_applied,
    }
    tables: list[tuple[str, Rows[Any]]] = [(f"{each.wish.kind}", _table(each)) for each in outcomes]
    return Facts(facts, document, tables, None if is_applied or not settings else _how(settings))


def _facts(outcome: Outcome, *, is_only: bool) -> list[tuple[str, str | Cell]]:
    said = "" if is_only else f"{outcome.wish.kind}: "
    visited = sum(map(len, outcome.visits.values()))
    spent = f"{plural(visited, 'visit')} in {outcome.seconds:.0f} s of {outcome.wish.budget.seconds:.0f}"
    if outcome.discarded:
        spent += f"; {outcome.discarded} more discarded, the anchor had drifted"
    facts: list[tuple[str, str | Cell]] = [
        (f"{said}aim", outcome.wish.objective.told),
        (f"{said}now", describe(outcome.now)),
        (f"{said}measured", spent),
    ]
    if outcome.decision:
        evidence = ", ".join(outcome.decision.evidence) or "no two measurements"
        facts.append((f"{said}decision", f"{outcome.decision.name}, on {evidence}"))
    return facts


def _settings(outcomes: Sequence[Outcome]) -> dict[str, object]:
    return {key: value for each in outcomes for key, value in each.settings.items()}


def _proposals(outcomes: Sequence[Outcome]) -> list[str]:
    return [_proposal(each, each.chosen) for each in outcomes if each.chosen]


def _why_none(outcomes: Sequence[Outcome]) -> str:
    verdicts = [each for outcome in outcomes for each in outcome.verdicts]
    if not verdicts:
        return "there is nothing else to try"
    if not any(outcome.visits for outcome in outcomes):
        return "nothing of what could be tried is worth measuring"
    measured = [each for each in verdicts if not each.candidate.why_not]
    if measured and all(each.difference is None for each in measured):
        discarded = any(outcome.discarded for outcome in outcomes)
        why = "this machine is too unsteady now" if discarded else "there was no time for more"
        return f"too few visits count to tell: {why}; try again, with a larger --drift or --budget"
    if all(outcome.wish.kind == CONTEXT for outcome in outcomes):
        return "no longer context fits and is as fast as now"
    return "nothing measured is better by more than chance"


def _proposal(outcome: Outcome, chosen: Verdict) -> str:
    found = chosen.difference
    if found is None:
        return chosen.candidate.name
    interval = f"({found.low:.2f} to {found.high:.2f})"
    if outcome.wish.kind == CONTEXT:
        return f"{chosen.candidate.name}, at {found.ratio:.2f} times the speed of now {interval}"
    return f"{chosen.candidate.name}: {found.ratio:.2f} times as good as now {interval}"


def _how(settings: Mapping[str, object]) -> str:
    return "\n".join(f"to apply it: {_command(key, value)}" for key, value in settings.items())


def _command(key: str, value: object) -> str:
    if key == "distributed_inference_enabled":
        return f"distributed {'on' if value else 'off'}"
    if isinstance(value, tuple) and all(isinstance(each, Split) for each in value):
        return f"config set {key} '{'; '.join(map(str, value))}'"
    return f"config set {key} {value}"


def _table(outcome: Outcome) -> Rows[Verdict]:
    verdicts = [_of_now(outcome), *outcome.verdicts]
    unit = "req/s" if outcome.wish.objective.metric == "goodput" else "ms"
    return Rows(
        key="candidates",
        items=verdicts,
        columns={
            "configuration": lambda each: each.candidate.name,
            "predicted tok/s": lambda each: _predicted(each.candidate),
            "measured tok/s": lambda each: _came(outcome, each.candidate),
            f"{outcome.wish.objective.metric}, {unit}": lambda each: number(each.value) if each.value is not None else "–",
            "times as good": lambda each: f"{each.difference.ratio:.2f}" if each.difference else "–",
            "95 %": lambda each: f"{each.difference.low:.2f} to {each.difference.high:.2f}" if each.difference else "–",
            "within limits": lambda each: f"{each.kept:.0%}" if each.kept is not None else "–",
            "kv cache": lambda each: _kv(outcome, each.candidate),
            "verdict": lambda each: Cell(each.candidate.why_not or each.word, _STYLES.get(each.word, "dim")),
        },
    )


def _of_now(outcome: Outcome) -> Verdict:
    visits = outcome.visits.get(outcome.now.name, ())
    value = summary(visits, outcome.wish.objective)
    return Verdict(outcome.now, value, len(visits), kept_within(visits, outcome.wish.objective), None, "the anchor")


def _predicted(candidate: Candidate) -> str:
    if candidate.prediction is None:
        return "–"
    return spread(*candidate.prediction.tokens_per_second)


def _came(outcome: Outcome, candidate: Candidate) -> str:
    came = measured(candidate, outcome.visits.get(candidate.name, ()))
    return number(came.tokens_per_second) if came and came.tokens_per_second else "–"


def _kv(outcome: Outcome, candidate: Candidate) -> str:
    held = max((visit.kv_bytes for visit in outcome.visits.get(candidate.name, ())), default=0)
    return gib(held) if held else "–"


def _document(outcome: Outcome) -> Json:
    objective, decision = outcome.wish.objective, outcome.decision
    return {
        "kind": outcome.wish.kind,
        "objective": {
            "for": objective.aim,
            "metric": objective.metric,
            "limits": to_json(objective.limits),
            "concurrency": objective.load.concurrency,
            "mix": objective.load.mix.name,
        },
        "now": describe(outcome.now),
        "candidates": [_entry(outcome, each) for each in (_of_now(outcome), *outcome.verdicts)],
        "chosen": outcome.chosen.candidate.name if outcome.chosen else None,
        "decision": to_json(decision),
        "seconds": round(outcome.seconds, 1),
        "budget_seconds": outcome.wish.budget.seconds,
        "discarded_visits": outcome.discarded,
    }


def _entry(outcome: Outcome, verdict: Verdict) -> Json:
    candidate, document = verdict.candidate, verdict.as_json()
    assert isinstance(document, dict)
    came = measured(candidate, outcome.visits.get(candidate.name, ()))
    return document | {
        "measured_tokens_per_second": came.tokens_per_second if came else None,
        "prediction_error": prediction_error(candidate.prediction, came) if candidate.prediction and came else None,
        "kv_bytes": max((visit.kv_bytes for visit in outcome.visits.get(candidate.name, ())), default=None),
        "settings": to_json(dict(candidate.settings)),
        "measurement": outcome.ids.get(candidate.name),
    }
