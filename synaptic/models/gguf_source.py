"""
A file of unknown intent, read forward in small bites.

No more than 16 MiB are read of it and nothing is allocated by a size it claims. Whatever is wrong is one EngineError
that names the file and the cause.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synaptic.errors import EngineError, os_reason
from synaptic.terminal import one_line

BITE = 64 * 1024
MOST_READ = 16 * 1024**2  # the header of a model with half a million tokens and merges has 14 MB
LONGEST_STRING = 1024**2
LONGEST_PATH = 1000  # characters of it that are shown
_LENGTH = struct.Struct("<Q")


class Source:
    def __init__(self, path: Path, descriptor: int) -> None:
        self.size = os.fstat(descriptor).st_size
        self._path = path
        self._descriptor = descriptor
        self._left = MOST_READ
        self._buffer = b""
        self._start = 0  # where in the file the buffer begins
        self._at = 0  # what of the buffer was taken; beyond its end after a skip

    @property
    def position(self) -> int:
        return self._start + self._at

    @property
    def remaining(self) -> int:
        return self.size - self.position

    def take(self, count: int) -> bytes:
        """`count` must be small or checked: at most LONGEST_STRING."""
        if self._at + count > len(self._buffer):
            self._fill(count)
        piece = self._buffer[self._at : self._at + count]
        self._at += count
        return piece

    def number(self, form: struct.Struct) -> int:
        return int(form.unpack(self.take(form.size))[0])

    def string(self) -> bytes:
        length = self.number(_LENGTH)
        if length > LONGEST_STRING:
            raise self.refusal(f"claims a string of {length} bytes")
        return self.take(length)

    def skip(self, count: int) -> None:
        if count > self.remaining:
            raise self.ends_early()
        self._at += count

    def skip_strings(self, count: int) -> None:
        """A vocabulary has hundreds of thousands of them: the loop steps through the buffer."""
        while count:
            if self._at + _LENGTH.size > len(self._buffer):
                self._fill(_LENGTH.size)
            buffer, at, last = self._buffer, self._at, len(self._buffer) - _LENGTH.size
            while count and at <= last:
                at += _LENGTH.size + _LENGTH.unpack_from(buffer, at)[0]
                count -= 1
            self.skip(at - self._at)

    def refusal(self, cause: str) -> EngineError:
        return refusal(self._path, cause)

    def ends_early(self, missing: str = "") -> EngineError:
        return self.refusal(f"ends early{missing}: is the download complete?")

    def _fill(self, needed: int) -> None:
        """Make the buffer begin here and hold what is needed."""
        if needed > self.remaining:
            raise self.ends_early()
        self._start, self._at, self._buffer = self.position, 0, b""
        self._buffer = os.pread(self._descriptor, max(needed, BITE), self._start)
        self._left -= len(self._buffer)
        if self._left < 0:
            raise self.refusal(f"has a header of more than {MOST_READ // 1024**2} MiB")
        if len(self._buffer) < needed:  # it shrank while we read
            raise self.ends_early()


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """A regular file; waits for nothing, not even for a FIFO's writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise EngineError(f"there is no file {shown(path)}", hint="try: model list") from error
    except OSError as error:
        raise refusal(path, f"cannot be opened: {os_reason(error)}") from error
    except ValueError as error:  # a NUL or a lone surrogate in the name
        raise refusal(path, "is no name a file can have") from error
    try:
        yield _checked(path, descriptor)
    except OSError as error:
        raise refusal(path, f"cannot be read: {os_reason(error)}") from error
    finally:
        os.close(descriptor)


def shown(path: Path) -> str:
    return one_line(str(path), LONGEST_PATH)


def refusal(path: Path, cause: str) -> EngineError:
    return EngineError(f"{shown(path)} {cause}")


def _checked(path: Path, descriptor: int) -> Source:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise EngineError(f"{shown(path)} is a folder, not a GGUF file", hint="name a file in it, or see: model list")
    if not stat.S_ISREG(mode):
        raise refusal(path, "is not a regular file")
    source = Source(path, descriptor)
    if source.size == 0:
        raise refusal(path, "is empty: is the download complete?")
    return source
