"""
The tokenizer of a distributed-llama model (.t): reading and writing. Files are untrusted.

    magic i32 0x567124 · header bytes i32 (with these 8) · pairs of key i32, value i32
    · chat template · end tokens i32 · of each token: score f32, length i32, bytes

    old: magic i32 0x567123 · vocabulary u32, longest u32, begin i32, end i32, pad i32 · tokens as above

The token that begins a text also parts the vocabulary: below it are the tokens that stand for text, from it on the
special ones.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import struct
from pathlib import Path

MAGIC, OLD_MAGIC = 0x567124, 0x567123
LARGEST = 256 * 1024**2  # bytes; a quarter of a million tokens take 4 MB
MOST_PAIRS = 1000
LONGEST_TOKEN = 4096  # bytes; real ones have a few hundred at most
_PAIR = struct.Struct("<ii")
_TOKEN = struct.Struct("<fi")
_KEYS = (
    *("version", "vocabulary", "longest", "begin", "end", "pad", "chat_end", "template_bytes", "skipped", "ends", "add_begin"),
)  # their numbers are their places


class NotATokenizerError(ValueError):
    """Says why, in words that follow the file's name."""


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """`begin` is the first special token. `ends`: which end a text or a turn; the first is the one that templates write."""

    tokens: tuple[bytes, ...]
    scores: tuple[float, ...]
    begin: int
    ends: tuple[int, ...]
    add_begin: bool = True
    template: bytes = b""

    @property
    def regular(self) -> int:
        """How many tokens stand for text: those from 0 on."""
        return self.begin


def read_vocabulary(path: Path) -> Vocabulary:
    """Blocks on the disk. OSError, NotATokenizerError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotATokenizerError("is not a regular file")
        if found.st_size > LARGEST:
            raise NotATokenizerError(f"is larger than {LARGEST // 1024**2} MiB")
        return parse(file.read(LARGEST))


def parse(raw: bytes) -> Vocabulary:
    """NotATokenizerError."""
    source = _Source(raw)
    magic = source.number()
    if magic == OLD_MAGIC:
        values = dict(zip(("vocabulary", "longest", "begin", "end", "pad"), source.numbers(5), strict=True))
        ends, template = [values["end"]], b""
    elif magic == MAGIC:
        values, ends = _header(source)
        source.take(values.get("skipped", 0))
        template = source.take(values.get("template_bytes", 0))
        ends += source.numbers(values.get("ends", 0))
    else:
        raise NotATokenizerError("is not a tokenizer of distributed-llama")
    return _vocabulary(source, values, ends, template)


def packed(vocabulary: Vocabulary) -> bytes:
    """The file, in the current format."""
    longest = max(map(len, vocabulary.tokens))
    values = {"begin": vocabulary.begin, "version": 1, "vocabulary": len(vocabulary.tokens), "longest": longest}
    if vocabulary.template:
        values["template_bytes"] = len(vocabulary.template)
    values |= {"ends": len(vocabulary.ends), "add_begin": int(vocabulary.add_begin)}
    pairs = b"".join(_PAIR.pack(_KEYS.index(key), value) for key, value in values.items())
    ends = struct.pack(f"<{len(vocabulary.ends)}i", *vocabulary.ends)
    tokens = (_TOKEN.pack(score, len(text)) + text for text, score in zip(vocabulary.tokens, vocabulary.scores, strict=True))
    return _PAIR.pack(MAGIC, 8 + len(pairs)) + pairs + vocabulary.template + ends + b"".join(tokens)


class _Source:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.raw) - self.at:
            raise NotATokenizerError("ends early: is the download complete?" if count >= 0 else f"claims {count} bytes")
        self.at += count
        return self.raw[self.at - count : self.at]

    def number(self) -> int:
        return self.numbers(1)[0]

    def numbers(self, count: int) -> list[int]:
        return list(struct.unpack(f"<{count}i", self.take(4 * count))) if count >= 0 else [self.take(count)[0]]


def _header(source: _Source) -> tuple[dict[str, int], list[int]]:
    size = source.number()
    if size < 8 or size % 8 or size > 8 + 8 * MOST_PAIRS:
        raise NotATokenizerError(f"claims a header of {size} bytes")
    values: dict[str, int] = {}
    ends: list[int] = []
    for key, value in _PAIR.iter_unpack(source.take(size - 8)):
        if not 0 <= key < len(_KEYS):
            raise NotATokenizerError(f"has the header key {key}, which is unknown")
        name = _KEYS[key]
        if name in ("end", "chat_end"):
            ends.append(value)
        values[name] = value + (values.get(name, 0) if name == "skipped" else 0)
    if values.get("version") != 1:
        raise NotATokenizerError("has an old version of the format, which is no longer read: convert it again")
    return values, ends


def _vocabulary(source: _Source, values: dict[str, int], ends: list[int], template: bytes) -> Vocabulary:
    count, begin = values.get("vocabulary", 0), values.get("begin", -1)
    if not 0 < count <= (len(source.raw) - source.at) // (_TOKEN.size + 1):
        raise NotATokenizerError(f"claims {count} tokens: is the download complete?")
    if not 0 <= begin < count or not all(0 <= end < count for end in ends):
        raise NotATokenizerError("names a token that it does not have")
    tokens, scores = [], []
    for _ in range(count):
        score, length = _TOKEN.unpack(source.take(_TOKEN.size))
        if not 0 < length <= LONGEST_TOKEN:
            raise NotATokenizerError(f"claims a token of {length} bytes")
        tokens.append(source.take(length))
        scores.append(score)
    return Vocabulary(tuple(tokens), tuple(scores), begin, tuple(ends), values.get("add_begin", 1) == 1, template)
