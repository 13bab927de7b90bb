"""A part of the time that a token takes: what it is, whose it is, how long. Values only; seconds."""

from __future__ import annotations

import dataclasses
import enum
import re

from synaptic.results import Json

MEMORY, COMPUTE = "memory bandwidth", "compute"


class Tie(enum.StrEnum):
    """What a term has to do with whose it is; the word that is said between them."""

    OF = "of"  # that machine works
    TO = "to"  # the way to that machine
    WITH = "with"  # all wait for those
    FROM = "from"  # storage


@dataclasses.dataclass(frozen=True)
class Term:
    """`whose`: a machine's name, or who is meant in words; "": this program's own."""

    what: str
    seconds: float
    whose: str = ""
    tie: Tie = Tie.OF

    def __str__(self) -> str:
        return f"{self.what} {self.tie} {self.whose}" if self.whose else self.what

    @property
    def is_work(self) -> bool:
        """Whether a machine works in it: neither a network's time nor our own."""
        return bool(self.whose) and self.tie is Tie.OF

    def as_json(self) -> Json:
        return [str(self), self.seconds]

    @classmethod
    def read(cls, name: str, seconds: float) -> Term:
        """As it was written down."""
        found = _NAME.fullmatch(name)
        return cls(found[1], seconds, found[3], Tie(found[2])) if found else cls(name, seconds)


_NAME = re.compile(f"(.+?) ({'|'.join(Tie)}) (.+)")
