"""
Server-sent events: bytes in, the `data` of whole events out. No I/O.

    data: {"choices": …}        a field; several data lines of one event are joined by newlines
    : ping                      a comment
                                an empty line ends the event

Lines end with CR, LF or CRLF. All of these are ASCII, so the bytes are split before they are decoded: a character
may be torn over any number of chunks.
"""

from __future__ import annotations

import re

from synaptic.errors import EngineError

MIB = 1024 * 1024
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Events:
    """`limit` is in bytes per event: a server that never ends one cannot fill our memory."""

    def __init__(self, limit: int = MIB) -> None:
        self._limit = limit
        self._line: list[bytes] = []  # pieces of the line that is not over yet
        self._data: list[bytes] = []  # data lines of the event that is not over yet
        self._size = 0  # bytes in both
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[str]:
        """The events that `chunk` completes. Raises EngineError when one is too large."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")  # the other half of a CRLF
            self._after_cr = False
        if not chunk:
            return []
        if self._is_one_event(chunk):
            return [chunk[6:-2].decode(errors="replace")]
        self._after_cr = chunk.endswith(b"\r")
        first, *rest = _LINE_END.split(chunk)
        self._keep(first, self._line)
        events: list[str] = []
        for piece in rest:
            events += self._end_line()
            self._keep(piece, self._line)
        return events

    def finish(self) -> list[str]:
        """The event that the end of the stream completes: some servers leave out the last line ends."""
        return [*self._end_line(), *self._end_event()]

    def _is_one_event(self, chunk: bytes) -> bool:
        """What nearly every token is: a whole event of one line, and nothing else."""
        if self._size or self._line or self._at_start or len(chunk) > self._limit or not chunk.endswith(b"\n\n"):
            return False
        return chunk.startswith(b"data: ") and chunk.find(b"\n") == len(chunk) - 2 and b"\r" not in chunk

    def _keep(self, piece: bytes, where: list[bytes]) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            size = "1 MiB" if self._limit == MIB else f"{self._limit} bytes"
            raise EngineError(f"the server sent an event of more than {size}")
        if piece:
            where.append(piece)

    def _end_line(self) -> list[str]:
        line = b"".join(self._line)
        self._line.clear()
        self._size -= len(line)
        if self._at_start:
            line = line.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        if not line:
            return self._end_event()
        name, _, value = line.partition(b":")
        if name == b"data":
            self._keep(value.removeprefix(b" ") + b"\n", self._data)
        return []

    def _end_event(self) -> list[str]:
        if not self._data:
            return []
        event = b"".join(self._data)[:-1]
        self._data.clear()
        self._size = 0
        return [event.decode(errors="replace")]
