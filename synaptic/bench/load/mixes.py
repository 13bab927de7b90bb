"""
Prompts to measure with: unique and seeded, so that no cache can answer them and a run can be repeated exactly.

    short   32 → 64 tokens       long   1500 → 256        code   256 → 512
    chat    turns of conversations, each with all that was said before: here the cache may help, and is reported apart
    custom:FILE   lines of {"prompt": "…", "max_tokens": 64}
    trace:FILE    a recorded load, at its own times (trace.py)
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

from synaptic.bench.load.trace import Arrival, read_trace
from synaptic.engines.engine import Message
from synaptic.errors import UsageError
from synaptic.files import path_of
from synaptic.terminal import one_line

TURNS = 3  # of one conversation
LIMIT = 1 << 26  # bytes of a custom file
_SYLLABLES = ["ba", "co", "di", "fu", "ga", "he", "ki", "lo", "mu", "na", "pe", "qui", "ro", "sa", "te", "vo", "wi", "xe", "ya", "zu"]
_CODE = [
    *("def", "class", "return", "if", "else", "for", "in", "while", "import", "from"),
    *("self", "value", "index", "total", "list", "dict", "print", "range", "len", "not"),
]


@dataclasses.dataclass(frozen=True)
class Prompt:
    messages: tuple[Message, ...]
    answer_tokens: int


@dataclasses.dataclass(frozen=True)
class Mix:
    """`prompt_tokens` and `answer_tokens` of one request, wanted; what really came is in the report. `own`: the user's prompts."""

    name: str
    prompt_tokens: int
    answer_tokens: int
    may_cache: bool = False
    own: tuple[Prompt, ...] = ()
    arrivals: tuple[Arrival, ...] = ()  # of a trace

    @property
    def longest(self) -> int:
        """Tokens of context that one request takes, without its template."""
        return (self.prompt_tokens + self.answer_tokens) * (TURNS if self.may_cache else 1)

    @classmethod
    def parse(cls, text: str) -> Mix:
        """Raises UsageError."""
        if text in MIXES:
            return MIXES[text]
        kind, colon, name = text.partition(":")
        if kind == "trace" and colon:
            arrivals = read_trace(path_of(name))
            longest = max(arrivals, key=lambda each: each.prompt_tokens + each.answer_tokens)
            return cls(f"trace:{Path(name).name}", longest.prompt_tokens, longest.answer_tokens, arrivals=arrivals)
        if kind != "custom" or not colon:
            raise UsageError(f"no mix is called {one_line(text, 40)}", hint=f"one of {', '.join(MIXES)}, custom:FILE, trace:FILE")
        own = tuple(_own(path_of(name)))
        return cls(f"custom:{Path(name).name}", 0, max(prompt.answer_tokens for prompt in own), own=own)


MIXES = {mix.name: mix for mix in (Mix("short", 32, 64), Mix("long", 1500, 256), Mix("code", 256, 512), Mix("chat", 48, 64, True))}


def prompts(mix: Mix, seed: str, words_per_token: float) -> Iterator[Prompt]:
    """Without end. Another `seed` gives other words: no two prompts of a measurement begin alike."""
    chance = random.Random(seed)
    for number in itertools.count():
        if mix.own:
            yield mix.own[number % len(mix.own)]
        elif mix.arrivals:
            yield _recorded(mix, mix.arrivals[number % len(mix.arrivals)], chance, words_per_token)
        elif mix.may_cache:
            yield from _conversation(mix, chance, words_per_token)
        else:
            yield Prompt((Message("user", text(mix, chance, words_per_token)),), mix.answer_tokens)


def text(mix: Mix, chance: random.Random, words_per_token: float) -> str:
    """Words without meaning, the first of which no other prompt has."""
    count = max(1, round(mix.prompt_tokens * words_per_token))
    return " ".join(_word(mix, chance, place) for place in range(count))


def _recorded(mix: Mix, arrival: Arrival, chance: random.Random, words_per_token: float) -> Prompt:
    sized = dataclasses.replace(mix, prompt_tokens=arrival.prompt_tokens)
    words = text(sized, chance, words_per_token) if arrival.words is None else arrival.words
    return Prompt((Message("user", words),), arrival.answer_tokens)


def _conversation(mix: Mix, chance: random.Random, words_per_token: float) -> Iterator[Prompt]:
    said: tuple[Message, ...] = ()
    for _ in range(TURNS):
        said = (*said, Message("user", text(mix, chance, words_per_token)))
        yield Prompt(said, mix.answer_tokens)
        said = (*said, Message("assistant", text(mix, chance, words_per_token)))


def _word(mix: Mix, chance: random.Random, place: int) -> str:
    if mix.name == "code" and place % 2:
        return chance.choice(_CODE)
    return "".join(chance.choices(_SYLLABLES, k=2 if place else 4))


def _own(path: Path) -> Iterator[Prompt]:
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.read(LIMIT).splitlines()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot read {one_line(str(path), 200)}", hint='lines of {"prompt": "…", "max_tokens": 64}') from error
    found = [_line(line, number, path) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise UsageError(f"{path} has no prompts", hint='lines of {"prompt": "…", "max_tokens": 64}')
    yield from found


def _line(line: str, number: int, path: Path) -> Prompt:
    try:
        entry = json.loads(line)
        words, most = entry["prompt"], entry.get("max_tokens", 64)
        if not isinstance(words, str) or not isinstance(most, int) or isinstance(most, bool) or not 0 < most < 1 << 24:
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{path}, line {number}, is no prompt", hint='such as {"prompt": "…", "max_tokens": 64}') from None
    return Prompt((Message("user", words),), most)
