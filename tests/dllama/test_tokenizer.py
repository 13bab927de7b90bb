"""Text to tokens and back, held against the plain algorithm and against what the real program did."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from synaptic.dllama.tokenizer import Decoder, Encoding, EncodingError, Tokenizer
from synaptic.dllama.tokenizer_file import Vocabulary, read_vocabulary

DEMO = read_vocabulary(Path(__file__).parents[2] / "config" / "demo" / "demo.t")
BYTES = tuple(bytes([byte]) for byte in range(256))
SPECIALS = (b"<s>", b"</s>", b"<a", b"<ab>")


def literally(vocabulary: Vocabulary, text: bytes, start: bool) -> Encoding:
    """Step for step as it is described: every pair is looked at again after each merge, in an array."""
    ids = {token: number for number, token in reversed(list(enumerate(vocabulary.tokens[: vocabulary.regular])))}
    array = [vocabulary.begin] if start and vocabulary.add_begin else []
    open_bytes, at = b"", 0
    while at < len(text):
        specials = range(vocabulary.begin, len(vocabulary.tokens))
        if (special := next((token for token in specials if text.startswith(vocabulary.tokens[token], at)), None)) is not None:
            array.append(special)
            at += len(vocabulary.tokens[special])
            continue
        open_bytes += text[at : at + 1]
        at += 1
        if open_bytes in ids:
            array.append(ids[open_bytes])
            open_bytes = b""
    assert not open_bytes
    count, stale = len(array), None
    while True:
        best, place = -1e10, -1
        for index, (one, other) in enumerate(pairwise(array[:count])):
            token = ids.get(vocabulary.tokens[one] + vocabulary.tokens[other])
            if token is not None and vocabulary.scores[token] > best:
                best, place, joined = vocabulary.scores[token], index, token
        if place < 0:
            return Encoding(tuple(array[:count]), stale)
        array[place] = joined
        array[place + 1 : count - 1] = array[place + 2 : count]
        count -= 1
        stale = array[count]


def vocabulary_of_chance(seed: int) -> Vocabulary:
    chance = random.Random(seed)
    tokens = list(BYTES)
    while len(tokens) < 290:
        text = b"".join(chance.choice(b"a b < > \xc3 \xa9".split(b" ") + tokens[256:]) for _ in range(2))
        tokens += [text] if len(text) < 9 and text not in tokens else []
    scores = [chance.choice((0.0, -1.0, -2.5, 3.0, -1e10, float(-token))) for token in range(len(tokens))]
    return Vocabulary((*tokens, *SPECIALS), (*scores, *(0.0,) * len(SPECIALS)), len(tokens), (len(tokens) + 1,), chance.random() < 0.5)


@pytest.mark.parametrize("seed", range(25))
def test_it_finds_what_the_plain_algorithm_finds(seed: int) -> None:
    vocabulary, chance = vocabulary_of_chance(seed), random.Random(seed)
    tokenizer = Tokenizer(vocabulary)
    for _ in range(20):
        pieces = chance.choices((b"a", b"b", b"<", b">", b"\xc3", b"\xa9", b"s", *SPECIALS), k=chance.randint(0, 40))
        text, start = b"".join(pieces), chance.random() < 0.7
        assert tokenizer.encode(text, start=start) == literally(vocabulary, text, start)


def test_the_real_program_finds_the_same() -> None:
    """Recorded."""
    text = "Hello wörld €, how do I add workers?\n\nThe the thee <|eot_id|> fast".encode()
    tokens = [41, 290, 571, 267, 195, 182, 83, 399, 1, 226, 130, 172, 13, 755, 295, 299, 507, 392, 32, 256, 357, 263, 263, 70, 1, 766, 639]
    assert Tokenizer(DEMO).encode(text) == Encoding((DEMO.begin, *tokens), 639)


def small(*tokens: bytes, specials: tuple[bytes, ...] = (b"<s>",)) -> Tokenizer:
    return Tokenizer(Vocabulary((*tokens, *specials), tuple(map(float, range(len(tokens) + len(specials)))), len(tokens), (), False))


def test_what_lies_behind_the_last_token() -> None:
    tokenizer = small(b"a", b"b", b"ab", b"c")
    assert tokenizer.encode(b"abc") == Encoding((2, 3), 3)  # the last token: it was moved up
    assert tokenizer.encode(b"cab") == Encoding((3, 2), 1)  # the right half of the last merge
    assert tokenizer.encode(b"cc") == Encoding((3, 3), None)
    assert tokenizer.encode(b"") == Encoding((), None)


def test_the_first_special_token_that_fits_counts() -> None:
    tokenizer = small(*BYTES, specials=(b"<s>", b"<a", b"<ab>"))
    assert tokenizer.encode(b"<ab>").tokens == (257, ord("b"), ord(">"))
    assert tokenizer.encode(b"<ab>", special=False).tokens == tuple(b"<ab>")


def test_bytes_wait_for_a_token_even_across_a_special_one() -> None:
    tokenizer = small(b"a", "€".encode())
    assert tokenizer.encode("a€a".encode()).tokens == (0, 1, 0)
    assert tokenizer.encode(b"\xe2<s>\x82\xac").tokens == (2, 1)
    for text in (b"\xe2\x82", b"ab", b"\xe2\x82\xe2"):
        with pytest.raises(EncodingError, match="no tokens for b"):
            tokenizer.encode(text)


def test_a_zero_byte_is_a_byte() -> None:
    tokenizer = small(*BYTES, b"a\0b")
    assert tokenizer.encode(b"a\0b").tokens == (97, 0, 98)


def test_a_long_text_takes_no_longer_for_each_byte() -> None:
    """The plain algorithm would need hours for it."""
    tokenizer, text = Tokenizer(DEMO), b"the nodes of a cluster " * 5000
    tokens = tokenizer.encode(text, start=False).tokens
    assert b"".join(map(tokenizer.text, tokens)) == text
    assert len(tokens) < len(text) / 2


PIECES = tuple(b"a|\xe2|\x82|\xac|x|\xf0\x9f|\xff|\xc3\xa9|ab\xe2\x82|\xf7\xbf\xbf\xbf|\x80|z\xffz\xe2|\0|q\0r|<s>|</s>".split(b"|"))
BAD = "\ufffd".encode()
RECORDED = {
    (13, 11, 7, 12, 15, 1, 5, 2, 8, 14, 6, 3, 9, 10, 4): b"q z?z ?\xc3\xa9 ~ ~ ~ ~ ~ ?ab ~ ~ ~ ?\xf7\xbf\xbf\xbf ~ ?x",
    (5, 1, 10, 15, 11, 6, 2, 3, 7, 13, 14, 9, 8, 12, 4): b"~ ~ ~ \xf0\x9f\xe2\x80 ?z?z ~ ~ ~ ?\xc3\xa9 q ~ \xf7\xbf\xbf\xbf ab ~ ?x",
    (8, 4, 14, 1, 3, 2, 15, 10, 6, 12, 9, 7, 5, 11, 13): b"ab ?x ~ ~ ~ \xe2\xac\x82 ~ ~ ~ ~ ?\xf7\xbf\xbf\xbf \xc3\xa9 ~ ?z?z ?q",
    (5, 10, 12, 4, 3, 1, 9, 7, 13, 6, 2, 15, 11, 14, 8): b"~ ~ ~ ?x ~ ~ ?\xf7\xbf\xbf\xbf \xc3\xa9 q ~ ~ \xff\x82 ?z?z ~ ?ab",
    (9, 4, 11, 3, 12, 2, 8, 5, 6, 13, 7, 15, 14, 10, 1): b"\xf7\xbf\xbf\xbf x z?z ~ ~ \xe2\xac\x82 ab ~ ~ ?q \xc3\xa9 ~ ~ ~ ~",
}  # ~: nothing; ?: U+FFFD


@pytest.mark.parametrize("tokens", RECORDED)
def test_the_real_program_shows_the_same_pieces(tokens: tuple[int, ...]) -> None:
    decoder = Decoder(Vocabulary(PIECES, (0.0,) * 16, 14, (15,), False))
    pieces = [decoder.piece(token) for token in tokens]
    assert b" ".join(b"~" if piece is None else piece for piece in pieces) == RECORDED[tokens].replace(b"?", BAD)


def test_characters_come_whole() -> None:
    decoder = Decoder(Vocabulary((*BYTES, b"<s>"), (0.0,) * 257, 256, ()))
    assert [decoder.piece(byte) for byte in "é🦙".encode()] == [None, "é".encode(), None, None, None, "🦙".encode()]
    decoder.piece(0xE2)
    decoder.reset()
    assert decoder.piece(ord("a")) == b"a"


def test_a_text_survives() -> None:
    tokenizer, decoder = Tokenizer(DEMO), Decoder(DEMO)
    text = "Größe: 5 €, 東京 🦙\n\tdone"
    pieces = [decoder.piece(token) for token in tokenizer.encode(text.encode()).tokens]
    assert b"".join(filter(None, pieces)).decode() == text


def test_bytes_that_never_become_a_character_do_not_pile_up() -> None:
    decoder = Decoder(Vocabulary((*BYTES, b"<s>"), (0.0,) * 257, 256, ()))
    assert {decoder.piece(0xFF) for _ in range(6000)} == {None}
    assert decoder.piece(ord("a")) == BAD + b"a"
