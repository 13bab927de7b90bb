"""Results → what a terminal shows, or the lines of a pipe. Pure: every foreign word is made visible, none is markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from synaptic.results import Cell, Facts, Note, Rows, Style
from synaptic.shell.colours import AMBER, GREEN, RED
from synaptic.terminal import one_line, visible, wrapped

COLOURS: dict[Style, str] = {"": "", "good": GREEN, "attention": AMBER, "bad": RED, "dim": "dim", "bold": "bold"}
LAST_COLUMN = 12  # columns that must remain beside the labels, else each stands above what it labels
SENTENCE = 20  # columns into which a sentence may be wrapped before a table becomes a list of records
GAP = 2
UNKNOWN = "–"
_WHOLE = 1_000_000  # characters: as good as no limit


def on_terminal(result: Note | Rows[Any] | Facts, width: int) -> RenderableType:
    match result:
        case Note():
            text = visible(result.text)
            return Text(text if result.is_verbatim else wrapped(text, width), style=COLOURS[result.style])
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
    if not rows.items:
        return Text(visible(rows.empty), style="dim")
    names, cells, widths = _laid(rows, width)
    if not widths:
        return _records(names, cells)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for name, wide in zip(names, widths, strict=True):
        table.add_column(Text(name), overflow="fold", width=wide)
    for row in cells:
        table.add_row(*(_styled(cell) for cell in row))
    return table


def _laid(rows: Rows[Any], width: int) -> tuple[list[str], list[list[Cell]], list[int]]:
    """The columns that say something, and how wide each is; no widths where they do not fit."""
    names, cells = _told(rows.columns, rows.cells(), {""})
    if sum(_widest(names, cells)) + GAP * (len(names) - 1) > width:
        names, cells = _told(names, cells, {UNKNOWN})
    return names, cells, _widths(names, cells, width)


def _told(names: Iterable[str], cells: list[list[Cell]], nothing: set[str]) -> tuple[list[str], list[list[Cell]]]:
    """Without the columns that say `nothing` in every row."""
    told = [column for column in range(len(cells[0])) if any(row[column].text not in nothing for row in cells)]
    names = [name for column, name in enumerate(names) if column in told]
    return names, [[Cell(one_line(row[column].text, _WHOLE), row[column].style) for column in told] for row in cells]


def _widths(names: list[str], cells: list[list[Cell]], room: int) -> list[int]:
    """Of each column, the widest of them narrowed first; none where not even the narrowest fit. (rich would crop what it must.)"""
    least = [_narrowest(texts) for texts in _columns(names, cells)]
    widths = _widest(names, cells)
    room -= GAP * (len(names) - 1)
    if sum(least) > room:
        return []
    while sum(widths) > room:
        _, widest = max((wide, column) for column, wide in enumerate(widths) if wide > least[column])
        widths[widest] -= 1
    return widths


def _widest(names: list[str], cells: list[list[Cell]]) -> list[int]:
    return [max(map(cell_len, texts)) for texts in _columns(names, cells)]


def _columns(names: list[str], cells: list[list[Cell]]) -> list[list[str]]:
    return [[name, *(row[column].text for row in cells)] for column, name in enumerate(names)]


def _narrowest(texts: list[str]) -> int:
    """Columns below which this one is no pleasure to read: names and figures stay whole, sentences may wrap."""
    widest = max(map(cell_len, texts))
    longest_word = max((cell_len(word) for text in texts for word in text.split()), default=0)
    return min(widest, max(longest_word, SENTENCE if widest > SENTENCE else widest))


def _records(names: list[str], rows: list[list[Cell]]) -> RenderableType:
    """What a table becomes in a narrow window: each row under its name, the mark before it."""
    named = next((column for column, name in enumerate(names) if name), 0)
    shown: list[RenderableType] = []
    for row in rows:
        title = Text(" ").join(_styled(cell) for cell in row[: named + 1] if cell.text)
        title.stylize("bold")
        shown.append(title)
        fields = [(name, cell) for name, cell in zip(names[named + 1 :], row[named + 1 :], strict=True) if cell.text not in ("", UNKNOWN)]
        if fields:
            shown.append(Padding(_fields(fields), (0, 0, 0, 2)))
    return Group(*shown)


def _fields(fields: list[tuple[str, Cell]]) -> RenderableType:
    grid = _labelled()
    for name, cell in fields:
        grid.add_row(Text(name, style="dim"), _styled(cell))
    return grid


def _labelled() -> Table:
    """Labels and what they label. What is too long for its line goes on below: nothing is left out."""
    grid = Table.grid(padding=(0, GAP, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _facts(facts: Facts, width: int) -> RenderableType:
    """Tables stand beside their labels, or all of them below where one is too wide for that."""
    labels = [label for label, _ in (*facts.facts, *facts.tables)]
    indent = max((cell_len(label) for label in labels), default=0) + 2
    values: list[tuple[str, RenderableType]] = [(label, _styled(value)) for label, value in facts.facts]
    if indent + LAST_COLUMN > width:
        return Group(*(_below(values + _tables(facts, width), 0)))
    if all(not table.items or _laid(table, width - indent)[2] for _, table in facts.tables):
        return _beside(values + _tables(facts, width - indent))
    return Group(_beside(values), *_below(_tables(facts, width - GAP), GAP))


def _tables(facts: Facts, width: int) -> list[tuple[str, RenderableType]]:
    return [(label, _with_summary(_table(table, width), table.summary)) for label, table in facts.tables]


def _below(rows: Iterable[tuple[str, RenderableType]], indent: int) -> Iterator[RenderableType]:
    for label, shown in rows:
        yield Text(label, style="bold")
        yield Padding(shown, (0, 0, 0, indent)) if indent else shown


def _beside(rows: Iterable[tuple[str, RenderableType]]) -> RenderableType:
    grid = _labelled()
    for label, shown in rows:
        grid.add_row(Text(label, style="bold"), shown)
    return grid


def _styled(value: str | Cell) -> Text:
    return Text(one_line(_text(value), _WHOLE), style=COLOURS[value.style] if isinstance(value, Cell) else "")
