"""Bytes are settings only if they can be written back the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptic.settings.text import LIMIT, BrokenFileError, Document, dump, parse


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\0" * 64, "NUL"),
        (b'{"a": "\0"}', "NUL"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "byte order mark"),
        (b'{"a": "\xfc"}', "not UTF-8 at byte 7"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "1e999"),
        (b'{"a": %s}' % (b"9" * 5000), "number"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', '"c" stands in it twice'),
        (b"[" * 100_000, "levels deep"),
        (b'{"a": "\\"[[", "b": %s1%s}' % (b"[" * 101, b"]" * 101), "levels deep"),
        (b"[1]", "no JSON object"),
        (b'{"a": 1,\n}', r"line \d, column \d"),
        (b" " * LIMIT + b"{}", "larger than 8 MB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bytes_that_are_no_settings_say_why(raw: bytes, reason: str) -> None:
    with pytest.raises(BrokenFileError, match=reason):
        parse(raw)


def test_brackets_in_text_and_side_by_side_are_not_depth() -> None:
    document: Document = {"text": "[" * 500, 'quote " and \\': [[] for _ in range(500)]}
    assert parse(dump(document)) == document


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters())
trees = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(), trees))
def test_whatever_a_file_says_is_written_back_the_same(document: Document) -> None:
    again = parse(dump(document))
    assert json.dumps(again) == json.dumps(document)  # and in the same order, and True is not 1


def test_an_escaped_half_character_survives() -> None:
    assert parse(dump(parse(rb'{"a": "\ud83d"}'))) == {"a": "\ud83d"}
