"""The FNV-1a names of stretches of files, several at a time: LANES to a thread, read in bites, never a whole tensor."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from synaptic.errors import EngineError, os_reason
from synaptic.models.fnv import LANES, OFFSET, advance, name
from synaptic.models.gguf_source import refusal

BITE = 256 * 1024  # four of them lie in a second-level cache


@dataclasses.dataclass(frozen=True)
class Stretch:
    """`bytes` of a file from `start`."""

    path: Path
    start: int
    bytes: int


def hashed(waiting: deque[Stretch], tell: Callable[[int], None], stop: threading.Event) -> Iterator[tuple[Stretch, str]]:
    """Take stretches off `waiting` (which other threads may do too) and name each. `tell` hears of bytes read. EngineError."""
    lanes = [_Lane() for _ in range(LANES)]
    try:
        while not stop.is_set():
            for lane in lanes:
                lane.start_next(waiting)
            if not any(lane.stretch for lane in lanes):
                return
            pieces, states = [lane.read() for lane in lanes], [lane.state for lane in lanes]
            advance(pieces, states)
            tell(sum(map(len, pieces)))
            for lane, state in zip(lanes, states, strict=True):
                lane.state = state
                if lane.stretch and lane.left == 0:
                    yield lane.end(), name(state)
    finally:
        for lane in lanes:
            lane.close()


class _Lane:
    def __init__(self) -> None:
        self.stretch: Stretch | None = None
        self.state = OFFSET
        self.left = 0
        self._buffer = memoryview(bytearray(BITE))
        self._descriptor = -1

    def start_next(self, waiting: deque[Stretch]) -> None:
        if self.stretch:
            return
        try:
            stretch = waiting.popleft()
        except IndexError:
            return
        try:
            self._descriptor = open_quietly(stretch.path)
        except OSError as error:
            raise _unreadable(stretch, error) from error
        self.stretch, self.state, self.left = stretch, OFFSET, stretch.bytes

    def read(self) -> memoryview:
        """The next bite; an empty one when there is nothing to do."""
        if self.stretch is None:
            return self._buffer[:0]
        bite = self._buffer[: min(BITE, self.left)]
        try:
            count = os.preadv(self._descriptor, [bite], self.stretch.start + self.stretch.bytes - self.left)
        except OSError as error:
            raise _unreadable(self.stretch, error) from error
        if count == 0:
            raise refusal(self.stretch.path, "became shorter while it was read")
        self.left -= count
        return bite[:count]

    def end(self) -> Stretch:
        stretch = self.stretch
        assert stretch
        self.close()
        return stretch

    def close(self) -> None:
        if self.stretch:
            os.close(self._descriptor)
        self.stretch = None


def open_quietly(path: Path) -> int:
    """For reading, without counting as a use of the file where the system allows that."""
    flags = os.O_RDONLY | os.O_CLOEXEC
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:  # a file of somebody else
        return os.open(path, flags)


def _unreadable(stretch: Stretch, error: OSError) -> EngineError:
    return refusal(stretch.path, f"cannot be read: {os_reason(error)}")
