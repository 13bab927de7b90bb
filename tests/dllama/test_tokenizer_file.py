"""A tokenizer's file: what is in it, and that nothing in it is believed."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from scripts.demo_model.tokenizer import CHAT_TEMPLATE, Tokenizer
from synaptic.dllama.tokenizer_file import NotATokenizerError, Vocabulary, packed, parse, read_vocabulary

DEMO = Path(__file__).parents[2] / "config" / "demo" / "demo.t"
SMALL = Vocabulary((b"a", b"b", b"ab", b"<s>", b"</s>"), (0.0, 0.0, -1.5, 0.0, 0.0), 3, (4, 1), False, b"{{ x }}")


def current(*pairs: tuple[int, int], after: bytes = b"") -> bytes:
    return struct.pack("<ii", 0x567124, 8 + 8 * len(pairs)) + b"".join(struct.pack("<ii", *pair) for pair in pairs) + after


def records(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<fi", -1.0, len(text)) + text for text in texts)


def test_the_demos() -> None:
    found, learnt = read_vocabulary(DEMO), Tokenizer.load()
    assert found.tokens == tuple(piece.text for piece in learnt.pieces)
    assert found.scores == tuple(piece.score for piece in learnt.pieces)
    assert (found.begin, found.ends, found.add_begin) == (learnt.begin, (learnt.end_of_turn, learnt.end), True)
    assert found.template == CHAT_TEMPLATE.encode()
    assert found.regular == learnt.regular
    assert packed(found) == DEMO.read_bytes()


def test_what_is_written_is_read() -> None:
    assert parse(packed(SMALL)) == SMALL


def test_the_old_format_has_no_template() -> None:
    raw = struct.pack("<iIIiii", 0x567123, 3, 4, 1, 2, -1) + records(b"a", b"<s>", b"</s>")
    assert parse(raw) == Vocabulary((b"a", b"<s>", b"</s>"), (-1.0,) * 3, 1, (2,))


def test_old_keys_of_the_current_format() -> None:
    """4 and 6 name an end each, 5 is ignored, and as many bytes as 8 says lie before the template."""
    pairs = ((0, 1), (1, 3), (2, 4), (3, 1), (4, 2), (6, 0), (5, 99), (8, 4), (7, 2), (9, 1), (10, 0))
    raw = current(*pairs, after=b"skipTT" + struct.pack("<i", 1) + records(b"a", b"<s>", b"</s>"))
    assert parse(raw) == Vocabulary((b"a", b"<s>", b"</s>"), (-1.0,) * 3, 1, (2, 0, 1), False, b"TT")


LIES = {
    "nothing": (b"", "ends early"),
    "a text": (b"function\n", "is not a tokenizer"),
    "a header without end": (struct.pack("<ii", 0x567124, 2**31 - 8), "claims a header of"),
    "a negative header": (struct.pack("<ii", 0x567124, -8), "claims a header of"),
    "an unknown key": (current((99, 0)), "header key 99"),
    "an old version": (current((0, 0), (1, 1)), "an old version"),
    "no tokens": (current((0, 1), (1, 0), (3, 0)), "claims 0 tokens"),
    "tokens without end": (current((0, 1), (1, 2**31 - 1), (3, 0), after=records(b"a")), "claims 2147483647 tokens"),
    "a template without end": (current((0, 1), (1, 1), (3, 0), (7, 2**31 - 1)), "ends early"),
    "a template of less than nothing": (current((0, 1), (1, 1), (3, 0), (7, -1)), "claims -1 bytes"),
    "ends without end": (current((0, 1), (1, 1), (3, 0), (9, 2**30)), "ends early"),
    "fewer ends than none": (current((0, 1), (1, 1), (3, 0), (9, -2)), "claims -2 bytes"),
    "a begin that is not there": (current((0, 1), (1, 1), (3, 1), after=records(b"a")), "a token that it does not have"),
    "no begin": (current((0, 1), (1, 1), after=records(b"a")), "a token that it does not have"),
    "an end that is not there": (current((0, 1), (1, 1), (3, 0), (4, 7), after=records(b"a")), "a token that it does not have"),
    "an empty token": (current((0, 1), (1, 1), (3, 0), after=records(b"") + b"xx"), "claims a token of 0 bytes"),
    "a token without end": (current((0, 1), (1, 1), (3, 0), after=struct.pack("<fi", 0, 9) + b"x"), "ends early"),
    "a token as long as a book": (
        current((0, 1), (1, 1), (3, 0), after=struct.pack("<fi", 0, 5000) + bytes(5000)),
        "claims a token of 5000 bytes",
    ),
    "a cut file": (packed(SMALL)[:-1], "ends early"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused(lie: str) -> None:
    content, sentence = LIES[lie]
    with pytest.raises(NotATokenizerError, match=sentence):
        parse(content)


def test_what_is_no_file_waits_for_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.t")
    with pytest.raises(NotATokenizerError, match="is not a regular file"):
        read_vocabulary(tmp_path / "m.t")
    (tmp_path / "large.t").touch()
    os.truncate(tmp_path / "large.t", 2**30)
    with pytest.raises(NotATokenizerError, match="is larger than 256 MiB"):
        read_vocabulary(tmp_path / "large.t")
