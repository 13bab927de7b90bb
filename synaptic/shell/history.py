"""The lines typed before: a file of one's own that two shells may share."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import History, InMemoryHistory

TAIL = 1024 * 1024  # bytes read from the end, however large the file
MOST = 5000  # lines
LONGEST = 20_000  # characters; a pasted book is not worth remembering
_SECRET = re.compile(
    r"^\s*/?config\s+set\s.*(key|(?<!max_)token|passw|secret|bearer|\bsk-)|--\S*(key|token|passw|secret)\S*[\s=]|://[^/\s@]+:[^/\s@]+@",
    re.IGNORECASE,
)


def history_in(folder: Path | None) -> History:
    """Without a folder, or one that cannot be written, lines are remembered until the end."""
    return FileTail(folder / "history") if folder else InMemoryHistory()


class FileTail(History):
    """prompt_toolkit's own file format: `# time`, then the lines of an entry, each after a `+`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        entries: list[str] = []
        for block in re.split(r"^#.*\n", self._read(), flags=re.MULTILINE):
            lines = [line[1:] for line in block.split("\n") if line.startswith("+")]
            if lines:
                entries.append("\n".join(lines))
        return reversed(entries[-MOST:])

    def store_string(self, string: str) -> None:
        if len(string) > LONGEST or _SECRET.search(string):
            return
        entry = f"\n# {datetime.datetime.now()}\n" + "".join(f"+{line}\n" for line in string.split("\n"))
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # one write at the end of the file: another shell's lines stay whole; a pipe in its place does not block
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(file, 0o600)
                os.write(file, entry.encode(errors="replace"))
            finally:
                os.close(file)

    def _read(self) -> str:
        try:
            if not self._path.is_file():
                return ""
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL))
                text = file.read(TAIL).decode(errors="replace")
        except OSError:
            return ""
        return text if size <= TAIL else text.partition("\n#")[2]
