from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic.terminal import one_line, printable, visible, wrapped


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("plain [bold] text\n\tnext", "plain [bold] text\n\tnext"),
        ("\x1b]52;c;aGk=\x07", "^[]52;c;aGk=^G"),
        ("\x9b2J", "\\x9b2J"),
        ("\x7f", "\\x7f"),
        ("a\rb", "a^Mb"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("\ud800", "\\ud800"),
        ("naïve 日本 🙂", "naïve 日本 🙂"),
    ],
)
def test_control_characters_are_shown_and_never_sent(foreign: str, shown: str) -> None:
    assert visible(foreign) == shown


@given(st.text(st.characters()))
def test_nothing_that_drives_a_terminal_survives(foreign: str) -> None:
    kept = set(visible(foreign)) - {"\n", "\t"}
    assert not any(
        ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0 or each in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069" for each in kept
    )


def test_one_line_is_one_bounded_line() -> None:
    assert one_line("a\n\nb\tc") == "a b c"
    assert one_line("x" * 500, 10) == "xxxxxxxxx…"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", None])
def test_our_own_marks_have_an_ascii_form(encoding: str | None) -> None:
    assert printable("✓ 2 workers · ready → go…", encoding).isascii()
    assert printable("日本", encoding) == "??"


def test_utf8_is_left_alone() -> None:
    assert printable("✓ 日本", "utf-8") == "✓ 日本"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three four", ["one two", "three four"]),
        ("✗ one two three four five six seven", ["✗ one two three four five", "  six seven"]),
        ("rpc add   one two three four five", ["rpc add   one two three four", "          five"]),
        ("  an indented sentence goes on there", ["  an indented sentence goes", "  on there"]),
        ("try: nodes remove http://127.0.0.1:11434/a/long/path", ["try: nodes remove", "http://127.0.0.1:11434/a/long/path"]),
        ("first\n\nsecond", ["first", "", "second"]),
        ("the model 日本語😀.gguf is on two", ["the model 日本語😀.gguf is", "on two"]),  # columns are counted
    ],
)
def test_sentences_are_wrapped_between_words_and_hang_below_their_beginning(text: str, lines: list[str]) -> None:
    width = 10 if lines[0] == "one two" else 28
    assert wrapped(text, width).split("\n") == lines


def test_on_a_narrow_terminal_nothing_hangs() -> None:
    assert wrapped("rpc add   one two three", 12).split("\n") == ["rpc add", "one two", "three"]


@given(st.text(max_size=200), st.integers(1, 200))
def test_wrapping_loses_no_word(text: str, width: int) -> None:
    assert wrapped(text, width).split() == text.split()
