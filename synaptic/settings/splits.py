"""
How models are to be split, where that is not left to the placement: one for each model.

    "splits": ["demo 192.168.1.10:50052=3,192.168.1.11:50052=1"]     in the file
    demo 192.168.1.10:50052=3,192.168.1.11:50052=1; other …          as typed
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.results import Json

MOST_LAYERS = 4096


@dataclasses.dataclass(frozen=True)
class Split:
    """`shares`: workers in llama.cpp's order, and the layers of each; the last one also has the output."""

    model: str
    shares: tuple[tuple[Endpoint, int], ...]

    @classmethod
    def parse(cls, text: str) -> Split:
        """Raises ValueError."""
        model, _, shares = text.strip().rpartition(" ")
        found = tuple(map(_share, shares.split(",")))
        if not model.strip() or len({worker for worker, _ in found}) != len(found):
            raise ValueError(text)
        return cls(model.strip(), found)

    def as_json(self) -> Json:
        return str(self)

    def __str__(self) -> str:
        return f"{self.model} {','.join(f'{worker}={layers}' for worker, layers in self.shares)}"


def with_split(splits: Iterable[Split], new: Split) -> tuple[Split, ...]:
    """One for each model: the one before gives way."""
    return (*(each for each in splits if each.model != new.model), new)


def accept(value: Json) -> tuple[Split, ...]:
    """Raises ValueError."""
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError
    return tuple({split.model: split for split in map(Split.parse, map(str, value))}.values())


def read(text: str) -> list[Json]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _share(text: str) -> tuple[Endpoint, int]:
    worker, _, layers = text.rpartition("=")
    if not layers.isdecimal() or not 1 <= int(layers[:9]) <= MOST_LAYERS:
        raise ValueError(text)
    try:
        return Endpoint.parse(worker), int(layers)
    except UsageError as error:
        raise ValueError(str(error)) from error
