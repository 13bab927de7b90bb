"""A measurement as Markdown, with its definitions: a report that can stand alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from synaptic.bench.report.nodes import nodes
from synaptic.bench.report.tables import facts, interval, notes, number, predicted
from synaptic.bench.result import METRICS, UNITS, Result
from synaptic.results import Cell, Json, Rows


def markdown(result: Result, pictures: Sequence[str] = ()) -> str:
    """`pictures`: the names of files that lie beside it."""
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(result.at))
    parts = [
        f"# {_plain(result.model.name)}, {when}",
        _facts(result),
        "## Figures",
        _figures(result),
        "## Percentiles",
        _percentiles(result),
        *_of("Predicted and measured", predicted(result)),
        *_of("What the machines did", nodes(result)),
    ]
    parts += [f"![{name}]({name})" for name in pictures]
    if said := notes(result):
        parts += ["## To be known", "\n".join(f"- {_plain(line)}" for line in said.splitlines())]
    parts += ["## What the words mean", "\n".join(f"- **{word}**: {meaning}" for word, meaning in result.definitions.items())]
    return "\n\n".join(parts) + "\n"


def _facts(result: Result) -> str:
    told = [(label, value.text if isinstance(value, Cell) else value) for label, value in facts(result)]
    asked = ", ".join(f"{name.replace('_', ' ')} {_said(value)}" for name, value in result.config.items() if _is_plain(value))
    return "\n".join(
        f"- {label}: {_plain(value)}" for label, value in [*told, ("asked for", asked), ("measured by", f"synaptic {result.tool}")]
    )


def _is_plain(value: Json) -> bool:
    """What was found before stands among the notes."""
    return value is not None and not (isinstance(value, list) and any(isinstance(each, dict) for each in value)) and value != []


def _said(value: Json) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _figures(result: Result) -> str:
    rows = [
        [
            point.mix,
            point.load,
            *(interval(point.of(metric)) for metric in METRICS),
            f"{point.errors + point.truncated} of {point.requests}",
            f"{point.cache.cached_tokens} of {point.cache.prompt_tokens} tokens",
        ]
        for point in result.points
    ]
    return _table(["mix", "load", *(f"{metric}, {UNITS[metric]}" for metric in METRICS), "failed", "cached"], rows)


def _percentiles(result: Result) -> str:
    ranks = ("p50", "p90", "p95", "p99")
    rows = [
        [point.mix, point.load, metric, str(figure.n), *(number(getattr(figure, rank)) for rank in ranks)]
        for point in result.points
        for metric in METRICS[:4]
        if (figure := point.of(metric)).n
    ]
    return _table(["mix", "load", "ms", "n", *ranks], rows)


def _of(title: str, rows: Rows[Any]) -> list[str]:
    """Nothing where there are none."""
    cells = [[cell.text for cell in line] for line in rows.cells()]
    return [f"## {title}", _table(list(rows.columns), cells)] if cells else []


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)


def _plain(text: str) -> str:
    """Foreign words are no markup."""
    return "".join(f"\\{sign}" if sign in "|<>[]`*_" else sign for sign in " ".join(text.split()))
