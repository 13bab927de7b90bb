"""
What commands answer. Four faces render it: terminal, pipe, `--json`, dashboard.

    Note     a sentence
    Rows     a table of records
    Facts    labelled values, and tables below them
    Lines    text that keeps coming, line by line (logs -f)
    Stream   an answer that arrives in pieces
    Watch    a result that is asked for again and again

Text in results may be foreign: faces pass it through `terminal.visible`, never as markup.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, cast

from synaptic.dllama.sizes import gib as gib
from synaptic.endpoint import Endpoint
from synaptic.errors import SynapticError

Json = Union[None, bool, int, float, str, list["Json"], dict[str, "Json"]]  # noqa: UP007 - a recursive alias needs a name at run time
Style = Literal["", "good", "attention", "bad", "dim", "bold"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """Text with a meaning that colour may underline but never carries alone."""

    text: str
    style: Style = ""


R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Note:
    """A sentence; `data` is its JSON document, `{"message": text}` when there is none."""

    text: str
    data: Mapping[str, object] | None = None
    style: Style = ""
    hint: str | None = None
    prefill: str | None = None  # a line the shell offers next
    is_verbatim: bool = False  # its lines stay as they are, however long
    holds: bool = False  # what it tells of ends with the program: outside a shell, stay until interrupted

    def as_json(self) -> Json:
        return to_json(self.data) if self.data is not None else {"message": self.text}


@dataclasses.dataclass(frozen=True)
class Rows(Generic[R]):
    """A table. JSON: `{key: [every item], **data}`; text: one column per entry of `columns`."""

    key: str
    items: Sequence[R]
    columns: Mapping[str, Callable[[R], str | Cell]]
    empty: str = "nothing yet"
    data: Mapping[str, object] = dataclasses.field(default_factory=dict)
    summary: str | None = None
    exit_code: int = 0

    def as_json(self) -> Json:
        return {self.key: [to_json(item) for item in self.items], **{name: to_json(value) for name, value in self.data.items()}}

    def cells(self) -> list[list[Cell]]:
        return [[_cell(column(item)) for column in self.columns.values()] for item in self.items]


@dataclasses.dataclass(frozen=True)
class Facts:
    """Labelled values; JSON is `data`."""

    facts: Sequence[tuple[str, str | Cell]]
    data: Mapping[str, object]
    tables: Sequence[tuple[str, Rows[Any]]] = ()
    summary: str | None = None

    def as_json(self) -> Json:
        return to_json(self.data)


@dataclasses.dataclass(frozen=True)
class Lines:
    """Text that keeps coming until it ends or the user has seen enough. JSON: `{key: [line, …]}`.

    With `after`, the lines tell live what the note sums up at the end, and JSON is the note's document.
    """

    key: str
    lines: AsyncIterator[str]
    after: Callable[[], Note] | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a stream ended: its JSON document, one dim line, the error if it is not whole, and what to do next."""

    data: Json
    tail: str
    error: SynapticError | None = None
    hint: str | None = None


@dataclasses.dataclass(frozen=True)
class Stream:
    """`head` is shown before, `pieces` as they come, `outcome` after the last piece."""

    head: str
    pieces: AsyncIterator[str]
    outcome: Callable[[], Outcome]


@dataclasses.dataclass(frozen=True)
class Watch:
    """Ask `again` every `seconds` and show the newest; a face that cannot repaint asks once."""

    again: Callable[[], Awaitable[Note | Rows[Any] | Facts]]
    seconds: float = 1.0


@dataclasses.dataclass(frozen=True)
class Leave:
    """The user wants to go."""

    keep: bool = False

    def as_json(self) -> Json:
        return {"leaving": True}


@contextlib.asynccontextmanager
async def closing(pieces: AsyncIterator[str]) -> AsyncIterator[None]:
    """However showing ends, the other side learns of it now, not when the garbage is collected."""
    try:
        yield
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


Result = Note | Rows[Any] | Facts | Lines | Stream | Watch | Leave


def to_json(value: object) -> Json:
    """Dataclasses, endpoints, enums and paths → what `json.dumps` takes; what has `as_json` says it itself. Keys stay as they are."""
    if value is None or type(value) in (str, int, float, bool):  # most of all, several times a second
        return cast(Json, value)
    if isinstance(value, (Endpoint, Path)):
        return str(value)
    if isinstance(value, enum.Enum):
        return to_json(value.value)
    if as_json := getattr(value, "as_json", None):
        return cast(Json, as_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(item) for item in value]
    assert isinstance(value, (bool, int, float, str)), f"not a JSON value: {value!r}"
    return value


GIB = 1 << 30  # bytes


def number(value: float) -> str:
    """As many digits as tell something: `143`, `14.2`, `0.32`."""
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def spread(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _cell(value: str | Cell) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)
