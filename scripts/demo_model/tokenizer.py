"""
A small BPE with scores: the algorithm that llama.cpp calls `llama` (SPM) and that distributed-llama has of its own.

A text begins as characters (as bytes beyond printable ASCII); then the adjacent pair whose concatenation has the best
score is joined, the leftmost of equals first, until no pair is a piece.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

FILE = Path(__file__).with_name("tokenizer.json")
CHARACTERS = ["\n", *map(chr, range(32, 127))]
SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<unk>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + "
    "message['content'] + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
_WORDS = re.compile(r" ?[A-Za-z]+| ?[0-9]| ?[^A-Za-z0-9\s]+|\n| ")
_SPECIAL = re.compile("|".join(map(re.escape, SPECIALS)))


class Kind(enum.Enum):
    CHARACTER = enum.auto()
    BYTE = enum.auto()
    MERGE = enum.auto()
    SPECIAL = enum.auto()


@dataclasses.dataclass(frozen=True)
class Piece:
    text: bytes
    kind: Kind
    score: float = 0.0


class Tokenizer:
    def __init__(self, merges: Sequence[str]) -> None:
        """`merges`: best first."""
        self.merges = list(merges)
        characters = [Piece(character.encode(), Kind.CHARACTER) for character in CHARACTERS]
        others = [Piece(bytes([byte]), Kind.BYTE) for byte in range(256) if chr(byte) not in CHARACTERS]
        joined = [Piece(merge.encode(), Kind.MERGE, -float(rank)) for rank, merge in enumerate(merges, 1)]
        self.pieces = [*characters, *others, *joined, *(Piece(special.encode(), Kind.SPECIAL) for special in SPECIALS)]
        self.regular = len(self.pieces) - len(SPECIALS)  # tokens that stand for text
        self._ids = {piece.text: number for number, piece in enumerate(self.pieces)}
        self._scores = {piece.text: piece.score for piece in joined}
        self.begin, self.end, self.header, self.header_end, self.end_of_turn, self.unknown = range(self.regular, len(self.pieces))

    @classmethod
    def load(cls, path: Path = FILE) -> Tokenizer:
        return cls(json.loads(path.read_text())["merges"])

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"merges": self.merges}))

    def encode(self, text: str) -> list[int]:
        """Special tokens may be written out."""
        tokens, done = [], 0
        for special in _SPECIAL.finditer(text):
            tokens += self._plain(text[done : special.start()])
            tokens.append(self._ids[special.group().encode()])
            done = special.end()
        return tokens + self._plain(text[done:])

    def decode(self, tokens: Sequence[int]) -> str:
        """Special tokens are left out."""
        pieces = (self.pieces[token] for token in tokens)
        return b"".join(piece.text for piece in pieces if piece.kind is not Kind.SPECIAL).decode("utf-8", "replace")

    def turn(self, role: str) -> list[int]:
        """What stands before the words of a role."""
        return [self.header, *self._plain(role), self.header_end, *self._plain("\n\n")]

    def _plain(self, text: str) -> list[int]:
        pieces = [bytes([byte]) for byte in text.encode()]
        while True:
            pairs = [(self._scores.get(one + other), at) for at, (one, other) in enumerate(pairwise(pieces))]
            known = [(score, -at) for score, at in pairs if score is not None]
            if not known:
                return [self._ids[piece] for piece in pieces]
            at = -max(known)[1]
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]


def learn(texts: Sequence[tuple[str, int]], size: int) -> Tokenizer:
    """A vocabulary of `size` tokens from (text, weight): again and again the most frequent pair becomes a piece."""
    words: Counter[str] = Counter()
    for text, weight in texts:
        for word in _WORDS.findall(text):
            words[word] += weight
    split = [(list(word), count) for word, count in words.items()]
    merges = ["\n\n"]
    while len(merges) < size - 256 - len(SPECIALS):
        pairs: Counter[str] = Counter()
        for pieces, count in split:
            for one, other in pairwise(pieces):
                pairs[one + other] += count
        if not pairs:
            break
        merges.append(max(pairs, key=lambda pair: (pairs[pair], pair)))
        for pieces, _ in split:
            _join(pieces, merges[-1])
    return Tokenizer(merges)


def _join(pieces: list[str], joined: str) -> None:
    at = 0
    while at < len(pieces) - 1:
        if pieces[at] + pieces[at + 1] == joined:
            pieces[at : at + 2] = [joined]
        at += 1
