"""Results → what the page draws: the same cells that a terminal shows. Every foreign word is made visible, none is markup."""

from __future__ import annotations

from typing import Any

from synaptic.results import Cell, Facts, Json, Leave, Note, Rows
from synaptic.terminal import visible


def view(result: Note | Rows[Any] | Facts | Leave) -> Json:
    match result:
        case Note():
            return {
                "kind": "note",
                "text": visible(result.text),
                "style": result.style,
                "hint": _text(result.hint),
                "prefill": result.prefill,
            }
        case Rows():
            return _rows(result)
        case Facts():
            return {
                "kind": "facts",
                "facts": [[visible(label), _cell(value)] for label, value in result.facts],
                "tables": [[visible(label), _rows(rows)] for label, rows in result.tables],
                "summary": _text(result.summary),
            }
        case Leave():
            return None


def _rows(rows: Rows[Any]) -> Json:
    return {
        "kind": "rows",
        "columns": list(rows.columns),
        "rows": [[_cell(cell) for cell in row] for row in rows.cells()],
        "empty": visible(rows.empty),
        "summary": _text(rows.summary),
    }


def _cell(value: str | Cell) -> Json:
    cell = value if isinstance(value, Cell) else Cell(value)
    return {"text": visible(cell.text), "style": cell.style}


def _text(text: str | None) -> str | None:
    return visible(text) if text else None
