"""
A recorded load, to be sent again at its own times: when each request came, and how long it and its answer were.

    trace:FILE.jsonl   lines of {"timestamp": 0, "input_length": 512, "output_length": 64}      milliseconds; Mooncake's traces
                       or of {"timestamp": 0, "prompt": "…", "max_tokens": 64}                   with words of one's own
    trace:FILE.csv     TIMESTAMP,ContextTokens,GeneratedTokens                                   Azure's traces

The words of a recorded length are made anew for each request and each repeat: no two begin alike (`hash_ids`, which say
what requests have in common, are passed over).
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from synaptic.errors import UsageError
from synaptic.terminal import one_line

LIMIT = 1 << 28  # bytes
MOST = 100_000  # requests
LONGEST = 1 << 24  # tokens
EXAMPLE = 'such as {"timestamp": 0, "input_length": 512, "output_length": 64}'
AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


@dataclasses.dataclass(frozen=True)
class Arrival:
    """`at`: seconds after the first one. `words`: the prompt, or None where only its length is known."""

    at: float
    prompt_tokens: int
    answer_tokens: int
    words: str | None = None


def read_trace(path: Path) -> tuple[Arrival, ...]:
    """In the order of their times. Raises UsageError."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(LIMIT)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot read {one_line(str(path), 200)}", hint=EXAMPLE) from error
    read = _azure if text.lstrip().startswith(AZURE[0]) else _mooncake
    found = sorted(_each(read, text, path), key=lambda each: each.at)
    if not found:
        raise UsageError(f"{path} has no requests", hint=EXAMPLE)
    return tuple(dataclasses.replace(each, at=each.at - found[0].at) for each in found[:MOST])


def _each(read: Callable[[str], Iterator[Arrival]], text: str, path: Path) -> Iterator[Arrival]:
    arrivals = read(text)
    number = 0
    while True:
        number += 1
        try:
            yield next(arrivals)
        except StopIteration:
            return
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            raise UsageError(f"{path}: request {number} cannot be read", hint=EXAMPLE) from None


def _mooncake(text: str) -> Iterator[Arrival]:
    for line in text.splitlines():
        if not line.strip():
            continue
        entry = json.loads(line)
        words = entry.get("prompt")
        if words is not None and not isinstance(words, str):
            raise TypeError
        size = 0 if words is not None else _tokens(entry["input_length"])
        yield Arrival(_seconds(entry["timestamp"]), size, _tokens(entry.get("output_length", entry.get("max_tokens"))), words)


def _azure(text: str) -> Iterator[Arrival]:
    for row in csv.DictReader(text.splitlines()):
        when = datetime.datetime.fromisoformat(row[AZURE[0]][:26]).replace(tzinfo=datetime.UTC)  # it writes 7 digits of a second
        yield Arrival(when.timestamp(), _tokens(int(row[AZURE[1]])), _tokens(int(row[AZURE[2]])))


def _seconds(milliseconds: object) -> float:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float) or not 0 <= milliseconds < 1e15:
        raise ValueError
    return milliseconds / 1000


def _tokens(count: object) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count < LONGEST:
        raise ValueError
    return count
