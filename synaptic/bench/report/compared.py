"""Two measurements beside each other, for the terminal."""

from __future__ import annotations

from synaptic.bench.compare import Compared, compare, why_not
from synaptic.bench.report.tables import engine
from synaptic.bench.result import Result
from synaptic.errors import UsageError
from synaptic.results import Cell, Facts, Rows, Style, to_json

LEAST = 0.001  # of a p: less says no more
_STYLES: dict[str, Style] = {"better": "good", "worse": "bad"}


def compared(a: Result, b: Result, *, force: bool = False) -> Rows[Compared]:
    """Raises UsageError where they cannot be compared; `force`: never mind."""
    reasons = why_not(a, b)
    return Rows(
        key="compared",
        items=compare(a, b, force=force),
        columns={
            "mix": lambda each: each.mix,
            "load": lambda each: each.load,
            "metric": lambda each: each.metric,
            "A": lambda each: _number(each.a),
            "B": lambda each: _number(each.b),
            "B / A": _ratio,
            "p": _p,
            "verdict": lambda each: Cell(each.verdict, _STYLES.get(each.verdict, "dim")),
        },
        data={"a": a.id, "b": b.id, "forced": reasons},
        summary="\n".join(f"never mind that {reason}" for reason in reasons) or None,
    )


def against(a: Result, b: Result) -> Facts:
    """Of two that took turns: who they are, and how B differs from A; or why that cannot be said."""
    facts: list[tuple[str, str | Cell]] = [("A", f"{a.id}, {engine(a)}"), ("B", f"{b.id}, {engine(b)}")]
    document: dict[str, object] = {"a": a.id, "b": b.id}
    try:
        rows = compared(a, b)
    except UsageError as error:
        return Facts([*facts, ("not compared", Cell(str(error), "attention"))], {**document, "compared": [], "not_compared": str(error)})
    return Facts(facts, {**document, "compared": to_json(rows.items), "not_compared": ""}, [("B against A", rows)])


def _ratio(each: Compared) -> str:
    found = each.difference
    return "n/a" if found is None else f"{found.ratio:.3f} ({found.low:.3f} to {found.high:.3f})"


def _p(each: Compared) -> str:
    if each.difference is None:
        return "n/a"
    return f"{each.difference.p:.3f}" if each.difference.p >= LEAST else f"< {LEAST}"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"
