"""Results → what a terminal shows, or the lines of a pipe. Pure: every foreign word is made visible, none is markup."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from synaptic.results import Cell, Facts, Note, Rows, Style
from synaptic.terminal import one_line, visible

COLOURS: dict[Style, str] = {"": "", "good": "green", "attention": "yellow", "bad": "red", "dim": "dim", "bold": "bold"}
LAST_COLUMN = 12  # columns that must remain for the last one, else a table becomes a list of records
_WHOLE = 1_000_000  # characters: as good as no limit


def on_terminal(result: Note | Rows[Any] | Facts, width: int) -> RenderableType:
    match result:
        case Note():
            return Text(visible(result.text), style=COLOURS[result.style])
        case Rows():
            return _with_summary(_table(result, width), result.summary)
        case Facts():
            return _with_summary(_facts(result, width), result.summary)


def in_pipe(result: Note | Rows[Any] | Facts) -> Iterator[str]:
    """One record per line, tab-separated, without a header."""
    match result:
        case Note():
            yield visible(result.text)
        case Rows():
            for row in result.cells():
                yield _tabbed(*row)
        case Facts():
            for label, value in result.facts:
                yield _tabbed(label, value)
            for label, rows in result.tables:
                for row in rows.cells():
                    yield _tabbed(label, *row)


def _tabbed(*cells: str | Cell) -> str:
    return "\t".join(one_line(_text(cell), _WHOLE) for cell in cells)


def _text(value: str | Cell) -> str:
    return value.text if isinstance(value, Cell) else value


def _with_summary(body: RenderableType, summary: str | None) -> RenderableType:
    return Group(body, Text(visible(summary))) if summary else body


def _table(rows: Rows[Any], width: int) -> RenderableType:
    cells = rows.cells()
    if not cells:
        return Text(visible(rows.empty), style="dim")
    widths = [max(cell_len(name), *(cell_len(row[column].text) for row in cells)) + 2 for column, name in enumerate(rows.columns)]
    if sum(widths[:-1]) + min(widths[-1], LAST_COLUMN) > width:
        return _records(list(rows.columns), cells)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in rows.columns:
        table.add_column(Text(name), overflow="fold")
    for row in cells:
        table.add_row(*(_styled(cell) for cell in row))
    return table


def _records(names: list[str], rows: list[list[Cell]]) -> RenderableType:
    """What a table becomes in a narrow window."""
    lines = [
        Text.assemble((f"{name} ", "bold"), _styled(cell)) if index else Text(one_line(cell.text), style="bold")
        for row in rows
        for index, (name, cell) in enumerate(zip(names, row, strict=True))
        if cell.text
    ]
    return Group(*lines)


def _facts(facts: Facts, width: int) -> RenderableType:
    labels = [label for label, _ in (*facts.facts, *facts.tables)]
    indent = max((cell_len(label) for label in labels), default=0) + 2
    if indent + LAST_COLUMN > width:
        indent = 0
    rows: list[tuple[str, RenderableType]] = [(label, _styled(value)) for label, value in facts.facts]
    rows += [(label, _with_summary(_table(table, width - indent), table.summary)) for label, table in facts.tables]
    if not indent:
        return Group(*(part for label, shown in rows for part in (Text(label, style="bold"), shown)))
    grid = Table.grid(padding=(0, 2, 0, 0))
    for label, shown in rows:
        grid.add_row(Text(label, style="bold"), shown)
    return grid


def _styled(value: str | Cell) -> Text:
    return Text(one_line(_text(value), _WHOLE), style=COLOURS[value.style] if isinstance(value, Cell) else "")
