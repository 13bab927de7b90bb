"""What the ways to run a model have in common: one process, shares of layers over workers, runs of layers, layers from disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from synaptic.dllama.header import DllamaHeader
from synaptic.dllama.model_file import Floats, ModelFile

if TYPE_CHECKING:
    from synaptic.dllama.executor import Executor
    from synaptic.dllama.to_worker import CallOff


@dataclasses.dataclass(frozen=True)
class Loading:
    """Bytes of weights that are where they belong."""

    done: int
    total: int


@dataclasses.dataclass(frozen=True)
class Node:
    """The layers `first` up to `last`, without it, or a share of them; `worker` "": here. Bytes. `holds`: it was sent no weights."""

    worker: str
    first: int
    last: int
    weights: int
    cache: int
    holds: bool = False


@dataclasses.dataclass(frozen=True)
class Placed:
    """Where the model is now; told when everything is there. `turns`: layers that are read from the file in every pass."""

    nodes: tuple[Node, ...]
    turns: int = 0


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Since the session began: bytes, and seconds in which this worker was waited for, alone or together with others."""

    worker: str
    sent: int
    received: int
    waited: float


@dataclasses.dataclass(frozen=True)
class Pass:
    """
    Of some tokens through the model: one, or up to 32 of a prompt, or all of it. Seconds; `waiting` for other nodes, or
    for the disk.
    """

    tokens: int
    position: int
    computing: float
    waiting: float
    traffic: tuple[Traffic, ...] = ()


@dataclasses.dataclass(frozen=True)
class Lost:
    """A worker was lost, and the model is being spread over these others."""

    worker: str
    why: str
    others: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Cached:
    """
    Of a model that is bigger than its memory, after a pass: how it was read. `hits`: layers that were there; of a
    mixture, without its experts, of which so many were needed and so many there. Bytes, seconds.
    """

    layers: int
    hits: int
    read: int
    reading: float
    experts: int = 0
    expert_hits: int = 0


Fact = Loading | Placed | Pass | Lost | Cached
Tell = Callable[[Fact], None]


def nobody(_: Fact) -> None:
    pass


class Running(Protocol):
    """
    A model that can be fed with tokens; what it has seen at a position stays until another token comes there.

    Blocks; for one thread at a time, but for `cut`. Whatever a method raises is its end, but for CalledOffError.
    """

    @property
    def header(self) -> DllamaHeader: ...

    @property
    def context(self) -> int:
        """The most tokens."""

    def open(self, call_off: CallOff, tell: Tell) -> None:
        """Once, before anything else. GraphError, LostWorkerError, OSError, CalledOffError, which leave nothing open."""

    def feed(self, tokens: Sequence[int], position: int, *, wants_logits: bool = True) -> Floats:
        """
        Logits (vocabulary,) after the last token, valid until the next call; without `wants_logits` anything.

        CalledOffError leaves it usable.
        """

    def cut(self) -> None:
        """End the waits of a `feed` in another thread, which raises LostError."""

    def close(self) -> None:
        """Politely. As often as you like."""


def context_of(header: DllamaHeader, wanted: int | None) -> int:
    return min(wanted or header.context, header.context)


def embed(file: ModelFile, tokens: Sequence[int]) -> Floats:
    """(tokens, dim), from the file."""
    table = file.raw(file.tensor("embedding")).view("<f4")
    return np.asarray(table[np.asarray(tokens, np.intp)], np.float32)


def pipe(executor: Executor, index: int) -> Floats:
    """(rows, values) of a pipe of floats."""
    found = cast("Floats", executor.pipes[index])
    return found.reshape(-1, found.shape[-1])


def at_positions(executor: Executor, position: int, count: int) -> None:
    executor.pipes[0].reshape(-1)[:count] = np.arange(position, position + count)


def chunks(tokens: Sequence[int], size: int) -> list[Sequence[int]]:
    return [tokens[start : start + size] for start in range(0, len(tokens), size)]
