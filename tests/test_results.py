from __future__ import annotations

import dataclasses
import enum
from pathlib import Path

import pytest

from synaptic.endpoint import Endpoint
from synaptic.results import Cell, Facts, Note, Rows, gib, plural, to_json


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Thing:
    endpoint: Endpoint
    colour: Colour
    path: Path | None = None


THING = Thing(Endpoint("::1", 1), Colour.RED, Path("a/b"))


def test_values_become_plain_json() -> None:
    assert to_json({"things": [THING], "n": 1.5}) == {"things": [{"endpoint": "[::1]:1", "colour": "red", "path": "a/b"}], "n": 1.5}


def test_what_is_no_json_value_is_refused_loudly() -> None:
    with pytest.raises(AssertionError, match="not a JSON value"):
        to_json(object())


def test_a_note_without_data_says_its_text() -> None:
    assert Note("done").as_json() == {"message": "done"}
    assert Note("done", {"added": 2}).as_json() == {"added": 2}


def test_rows_are_records_under_their_key_with_the_rest_beside_them() -> None:
    rows = Rows(
        "things", [THING], {"where": lambda thing: str(thing.endpoint), "colour": lambda thing: Cell("red", "bad")}, data={"scanned": 7}
    )
    assert rows.as_json() == {"things": [{"endpoint": "[::1]:1", "colour": "red", "path": "a/b"}], "scanned": 7}
    assert rows.cells() == [[Cell("[::1]:1"), Cell("red", "bad")]]


def test_facts_are_their_data() -> None:
    assert Facts([("a", "b")], {"x": THING.endpoint}).as_json() == {"x": "[::1]:1"}


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1638752, "1.6 MiB"), (25276502016, "23.5 GiB"), (2**50, "1024 TiB")]
)
def test_sizes_read_well(count: int, text: str) -> None:
    assert gib(count) == text


def test_one_worker_two_workers() -> None:
    assert (plural(1, "worker"), plural(2, "worker"), plural(0, "worker")) == ("1 worker", "2 workers", "0 workers")
