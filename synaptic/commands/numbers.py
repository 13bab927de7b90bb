"""Several numbers as typed: 1,2,4."""

from __future__ import annotations

import dataclasses

from synaptic.errors import UsageError

MOST = 1 << 24


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Each once, in their order, from 1 to MOST; whoever takes fewer looks at `most`."""

    all: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Numbers:
        words = [word.strip() for word in text.split(",")]
        if not all(word.isdecimal() and 1 <= int(word[:9]) <= MOST for word in words):
            raise UsageError("a list of numbers is wanted, from 1 on", hint="such as 1,2,4")
        return cls(tuple(dict.fromkeys(int(word) for word in words)))

    @property
    def most(self) -> int:
        return max(self.all)
