"""What a relay writes into the log of its program, and how that is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

_STANDS_FOR = re.compile(r"relay: (\S+) stands for (\S+)\Z")
_CAUSE = re.compile(r"relay: (worker \S+ .+|the relay to its workers .+)")


def say(sentence: str) -> None:
    os.write(2, f"relay: {sentence}\n".encode())  # whole, whoever else writes there


def names(line: str) -> tuple[str, str] | None:
    """The relay's address and the worker behind it, where the line tells them."""
    match = _STANDS_FOR.match(line)
    return (match[1], match[2]) if match else None


def cause(lines: Iterable[str]) -> str | None:
    """The first thing that went wrong, as half a sentence: what follows may be its consequence."""
    return next((match[1] for line in lines if (match := _CAUSE.match(line))), None)
