"""decision: what was decided, and whether measurements bear it out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from synaptic.commands.bench_report import file_of
from synaptic.commands.grammar import Choice
from synaptic.commands.registry import registry
from synaptic.errors import UsageError
from synaptic.files import path_of
from synaptic.results import Cell, Note, Rows, Style

if TYPE_CHECKING:
    from synaptic.bench.decisions import Decision, Decisions, Judged
    from synaptic.session import Session


@registry.command("decision list", group="measure")
async def list_(session: Session) -> Rows[Decision]:
    """Show what was decided, with what was predicted for it.

    See also: decision add, decision verify
    """
    found = await asyncio.to_thread(_decisions(session).all)
    return Rows(
        key="decisions",
        items=found,
        columns={"name": lambda each: each.name, "claim": lambda each: each.claim, "prediction": lambda each: each.prediction},
    )


@registry.command("decision add", group="measure")
async def add(
    session: Session,
    name: str,
    claim: str,
    *,
    prediction: str = "",
    metric: Annotated[str | None, Choice("ttft", "tpot", "itl", "e2e", "throughput", "goodput")] = None,
    at_least: float | None = None,
    a: str | None = None,
    b: str | None = None,
    again: str = "",
) -> Note:
    """Keep a decision: its claim, and by which figure it can be told that it was right.

    --metric throughput --at-least 1.5 says that B is 1.5 times as good as A; --a and --b are the ids of two
    measurements. --again says when to look at it anew. A decision of the same name is replaced.

        decision add slots-3 'three slots serve three users better' --metric throughput --at-least 1.5 --a ID --b ID

    See also: bench run, decision verify
    """
    from synaptic.bench.decisions import Decision

    if (a is None) is not (b is None) or (metric is None) is not (at_least is None):
        raise UsageError("--a goes with --b, and --metric with --at-least")
    if at_least is not None and not 0 < at_least < 1e6:
        raise UsageError("--at-least is how many times as good, such as 1.5")
    evidence = (a, b) if a and b else ()
    await asyncio.to_thread(_decisions(session).add, Decision(name, claim, prediction, metric, at_least, evidence, again))
    return Note(f"{name} is kept", {"name": name}, hint="try: decision verify")


@registry.command("decision verify", group="measure")
async def verify(session: Session) -> Rows[Judged]:
    """Work out again, from the measurements that were kept, whether each decision is confirmed, refuted or unknown.

    See also: decision add, decision report
    """
    styles: dict[str, Style] = {"confirmed": "good", "refuted": "bad"}
    return Rows(
        key="decisions",
        items=await asyncio.to_thread(_judged, session),
        columns={
            "name": lambda each: each.decision.name,
            "verdict": lambda each: Cell(each.verdict, styles.get(each.verdict, "dim")),
            "why": lambda each: each.why,
            "look again": lambda each: each.decision.again,
        },
    )


@registry.command("decision report", group="measure")
async def report(session: Session, *, out: str | None = None) -> Note:
    """Write all decisions with their verdicts as Markdown, to --out FILE.md or here.

        decision report --out decisions.md

    See also: decision verify
    """
    from synaptic.files import write_whole

    found = await asyncio.to_thread(_judged, session)
    text = "\n".join(["# Decisions", *(_section(each) for each in found)])
    if out is None:
        return Note(text, {"decisions": found})
    await asyncio.to_thread(write_whole, path_of(out), text)
    return Note(f"{out} is written", {"decisions": found, "path": out})


def _section(each: Judged) -> str:
    said = each.decision
    evidence = ", ".join(said.evidence) or "none yet"
    lines = [f"- verdict: {each.verdict}, {each.why}", f"- predicted: {said.prediction or 'nothing'}", f"- evidence: {evidence}"]
    return "\n".join(["", f"## {said.name}", "", said.claim, "", *lines, f"- look again: {said.again or 'not said'}", ""])


def _judged(session: Session) -> list[Judged]:
    from synaptic.bench.decisions import judge
    from synaptic.bench.kept import read

    return [judge(each, lambda name: read(file_of(session, name))) for each in _decisions(session).all()]


def _decisions(session: Session) -> Decisions:
    from synaptic.bench.decisions import Decisions

    folder = session.environment.state_dir
    return Decisions(folder / "bench" / "decisions" / "decisions.json" if folder else None)
