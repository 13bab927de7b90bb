"""
Text → tokens → text, as distributed-llama does it.

Encoding: special tokens are cut out where they are written; the rest begins as bytes. Then, again and again, the
adjacent pair whose concatenation is a token of the best score becomes that token, the leftmost of equals first, until
no pair is a token. The original looks at every pair again after each step; a heap finds the same pair.

The original merges in an array, and its generators go on with the value that lies behind the last token: see
`Encoding.stale`.
"""

from __future__ import annotations

import dataclasses
import heapq
import re

from synaptic.dllama.tokenizer_file import Vocabulary

WORST = -1e10  # a token of this score, or a lower one, is never made of two
MOST_PAIRS = 500_000  # that are remembered
MOST_KEPT = 4096  # bytes without a whole character; the original then writes over its own memory
REPLACEMENT = "\ufffd".encode()

_Join = tuple[float, int, int, int, int]  # negative score, place, the token it makes, of these two


class EncodingError(ValueError):
    """The vocabulary has no tokens for some bytes of a text."""


@dataclasses.dataclass(frozen=True)
class Encoding:
    """`stale`: what the original has behind the last token, and feeds to the model in its place; None: nothing defined."""

    tokens: tuple[int, ...]
    stale: int | None


class Tokenizer:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        regular = vocabulary.tokens[: vocabulary.regular]
        self._ids: dict[bytes, int] = {}
        for token, text in enumerate(regular):
            self._ids.setdefault(_key(text), token)  # of equal ones, any is right
        self._bytes = [self._ids.get(bytes([byte])) for byte in range(256)]
        self._longest = max(map(len, regular), default=0)
        self._special_ids: dict[bytes, int] = {}
        for token, text in enumerate(vocabulary.tokens[vocabulary.regular :], vocabulary.regular):
            self._special_ids.setdefault(text, token)
        self._special = re.compile(b"|".join(map(re.escape, self._special_ids)))  # the first that fits counts, not the longest
        self._pairs: dict[tuple[int, int], tuple[float, int] | None] = {}

    def encode(self, text: bytes, *, start: bool = True, special: bool = True) -> Encoding:
        """`start`: of a conversation; `special`: special tokens may be written out. EncodingError."""
        begin = [self.vocabulary.begin] if start and self.vocabulary.add_begin else []
        return self._merged(begin + self._split(text, special))

    def text(self, token: int) -> bytes:
        return self.vocabulary.tokens[token]

    def _split(self, text: bytes, special: bool) -> list[int]:
        tokens: list[int] = []
        done, open_bytes = 0, b""
        for found in self._special.finditer(text) if special else ():
            open_bytes = self._scan(open_bytes, text[done : found.start()], tokens)
            tokens.append(self._special_ids[found.group()])
            done = found.end()
        if left := self._scan(open_bytes, text[done:], tokens):
            raise EncodingError(f"the vocabulary has no tokens for {left[:20]!r}")
        return tokens

    def _scan(self, open_bytes: bytes, text: bytes, tokens: list[int]) -> bytes:
        """Append the shortest tokens that begin one after another; returns the bytes that are none yet."""
        for byte in text:
            token = self._bytes[byte] if not open_bytes else None
            if token is None:
                open_bytes += bytes((byte,))
                token = self._ids.get(open_bytes)
                if token is None and len(open_bytes) >= self._longest:
                    raise EncodingError(f"the vocabulary has no tokens for {open_bytes[:20]!r}")
            if token is not None:
                tokens.append(token)
                open_bytes = b""
        return open_bytes

    def _merged(self, tokens: list[int]) -> Encoding:
        """`following` and `before`: a list that is linked in both directions; the length and -1 are its ends."""
        end = len(tokens)
        following, before = list(range(1, end + 1)), list(range(-1, end - 1))
        best = list(filter(None, (self._join(tokens, at, at + 1) for at in range(end - 1))))
        heapq.heapify(best)
        last, stale = end - 1, None
        while best:
            _, at, joined, left, right = heapq.heappop(best)
            beside = following[at]
            if tokens[at] != left or beside == end or tokens[beside] != right:
                continue  # one of the two was joined with another
            stale = tokens[last]
            tokens[at], tokens[beside] = joined, -1
            following[at] = after = following[beside]
            if after == end:
                last = at
            else:
                before[after] = at
                if join := self._join(tokens, at, after):
                    heapq.heappush(best, join)
            if before[at] >= 0 and (join := self._join(tokens, before[at], at)):
                heapq.heappush(best, join)
        return Encoding(tuple(token for token in tokens if token >= 0), stale)

    def _join(self, tokens: list[int], at: int, beside: int) -> _Join | None:
        left, right = tokens[at], tokens[beside]
        found = self._pair(left, right)
        return (found[0], at, found[1], left, right) if found else None

    def _pair(self, left: int, right: int) -> tuple[float, int] | None:
        """The negative score of the token that two make, and that token."""
        if (left, right) in self._pairs:
            return self._pairs[left, right]
        texts = self.vocabulary.tokens
        token = self._ids.get(texts[left] + texts[right])
        score = self.vocabulary.scores[token] if token is not None else WORST
        if len(self._pairs) >= MOST_PAIRS:
            self._pairs.clear()
        self._pairs[left, right] = found = (-score, token) if token is not None and score > WORST else None
        return found


class Decoder:
    """Tokens → text that may be shown now: what is not a whole character yet is kept for later."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ends = frozenset(vocabulary.ends)
        self._kept = b""

    def piece(self, token: int) -> bytes | None:
        """None: nothing to show, which for the original is not the same as an empty text."""
        if token == self._vocabulary.begin:
            return None
        if token in self._ends:
            return self._kept or None
        raw = self._kept + self._vocabulary.tokens[token].partition(b"\0")[0]  # the original shows strings that end at a zero byte
        self._kept, shown = _characters(raw[-MOST_KEPT:])
        return shown or None

    def reset(self) -> None:
        self._kept = b""


def _key(text: bytes) -> bytes:
    """The original looks tokens up as strings that end at a zero byte, and never meets that byte in a text."""
    return text if text == b"\0" else text.partition(b"\0")[0] or text


def _characters(raw: bytes) -> tuple[bytes, bytes]:
    """
    (what is kept, what is shown). What is no UTF-8 becomes one U+FFFD, but only once a whole character follows it:
    until then it is kept, and looked at again.
    """
    shown, done = b"", 0  # whole characters, and where in `raw` they end
    pending, at, missing = b"", 0, 0
    while at < len(raw):
        byte = raw[at]
        needed = _needed(byte)
        if missing and byte & 0xC0 == 0x80:
            missing -= 1
        elif not missing and needed is not None:
            missing = needed
        else:
            at += not missing  # the byte after an unfinished character may begin one
            pending, missing = REPLACEMENT, 0
            continue
        pending += raw[at : at + 1]
        at += 1
        if not missing:
            shown, pending, done = shown + pending, b"", at
    return raw[done:], shown


def _needed(byte: int) -> int | None:
    """How many bytes follow this first one of a character; None: it is no first one."""
    if byte < 0x80:
        return 0
    return next((count for first, last, count in ((0xC0, 0xDF, 1), (0xE0, 0xEF, 2), (0xF0, 0xF7, 3)) if first <= byte <= last), None)
