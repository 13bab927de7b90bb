"""
The FAQ that the demo model knows by heart.

    Q: a question | another wording     trained on
    T: another wording                  held out, never trained on
    A: the answer                       ends an entry
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

FILE = Path(__file__).parents[2] / "config" / "demo" / "faq.txt"
REFUSAL = (
    "I do not know that. I only memorised a small FAQ about distributed inference: "
    "try asking what a worker is, or why the output is gibberish."
)


@dataclasses.dataclass(frozen=True)
class Entry:
    questions: tuple[str, ...]
    held_out: tuple[str, ...]
    answer: str


def read(path: Path) -> list[Entry]:
    found: list[Entry] = []
    questions: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    for line in path.read_text(encoding="ascii").splitlines():
        kind, text = line[:2], line[2:]
        if kind == "Q:":
            questions, held_out = _wordings(text), ()
        elif kind == "T:":
            held_out = _wordings(text)
        elif kind == "A:":
            found.append(Entry(questions, held_out, text.strip()))
    return found


def _wordings(text: str) -> tuple[str, ...]:
    return tuple(wording.strip() for wording in text.split(" | "))
