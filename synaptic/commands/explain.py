"""explain: the last answer's time against what was predicted for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from synaptic.commands.registry import registry
from synaptic.errors import SynapticError
from synaptic.results import Cell, Facts, Rows, to_json

if TYPE_CHECKING:
    from synaptic.planning.predictions import Record
    from synaptic.session import Session


@registry.command("explain", group="models")
async def explain(session: Session) -> Facts:
    """Show where the time of the last answer over workers went: measured beside predicted, term by term.

    See also: plan, status
    """
    record = await asyncio.to_thread(session.predictions.last)
    if record is None:
        raise SynapticError("no answer has been predicted and measured yet", hint="try: distributed on, then ask something")
    document = to_json(record)
    assert isinstance(document, dict)
    return Facts(_facts(record), dict(document), [("terms", _terms(record))])


def _facts(record: Record) -> list[tuple[str, str | Cell]]:
    said, came = record.prediction, record.measured
    return [
        ("model", record.model),
        ("speed", _against(came.tokens_per_second, said.tokens_per_second, "tok/s", more_is_better=True)),
        ("first token", _against(came.ttft_ms, said.ttft_ms, "ms", more_is_better=False)),
        ("bottleneck", said.bottleneck),
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


def _terms(record: Record) -> Rows[tuple[str, float]]:
    """Of one token; the last row is what no term accounts for."""
    said = record.prediction
    rows = list(said.terms)
    if rate := record.measured.tokens_per_second:
        rows.append(("measured, beyond the terms", 1 / rate - said.step))
    return Rows(
        key="terms",
        items=rows,
        columns={
            "what": lambda term: term[0],
            "ms": lambda term: f"{term[1] * 1000:.2f}",
            "share": lambda term: f"{term[1] / said.step:.0%}" if said.step else "–",
        },
    )
