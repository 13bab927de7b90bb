"""
A short report for each process of ours that ended without being asked to: what, why, and its last words.

It lies beside the logs, so that `logs` shows it. Foreign text is kept as it came; whoever shows it cleans it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from synaptic.cluster.pool import Pool, Record
from synaptic.events import Bus, ChildChanged, ChildSpoke, Event, Noticed

KEPT = 20  # reports
LAST_WORDS = 20  # lines
_logger = logging.getLogger(__name__)
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_KNOWN = (  # what others have reported with the same words, in the tracker of llama.cpp
    (r"Remote RPC server crashed or returned malformed response|send failed \(bytes_sent", "one lost worker ends the whole server: #25938"),
    (r"RPC server version mismatch|RPC handshake failed", "one release must run everywhere: #26392, #21006"),
    (r"Failed to connect to", "one worker that is absent ends the start: #26384"),
    (r"GGML_ASSERT.*(?:ggml-rpc|rpc)", "a request that the worker's build does not know: #25288"),
)


class PostMortems:
    """Listens to `bus`; `folder` is where the logs are. A report is written once the workers were asked who is left."""

    def __init__(self, bus: Bus, pool: Pool, folder: Path) -> None:
        self._bus = bus
        self._pool = pool
        self._folder = folder
        self._writing: set[asyncio.Task[None]] = set()
        bus.tap(self._hear)

    async def close(self) -> None:
        """Wait for what is being written."""
        self._bus.untap(self._hear)
        if self._writing:
            await asyncio.wait(self._writing)

    def _hear(self, event: Event) -> None:
        if isinstance(event, ChildChanged) and (event.before, event.after) == ("ready", "failed"):
            spoken = (each.line for each in reversed(self._bus.history) if isinstance(each, ChildSpoke) and each.child == event.child)
            words = list(itertools.islice(spoken, LAST_WORDS))[::-1]
            task = asyncio.create_task(self._write(event, words))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    async def _write(self, event: ChildChanged, last_words: Sequence[str]) -> None:
        await self._pool.check()
        when = time.strftime("%Y%m%d-%H%M%S", time.localtime(event.at))
        path = self._folder / f"report-{when}-{_UNFIT.sub('-', event.child)[-60:]}.log"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_text(report(event, last_words, self._pool.records()), errors="replace")
            path.chmod(0o600)
        except OSError as error:  # the cause is on the screen all the same
            _logger.warning("no report of %s: %s", event.child, error)
            return
        _tidy(self._folder)
        said = event.cause if event.cause.startswith("ended") else f"ended: {event.cause}"
        self._bus.publish(Noticed(text=f"{event.child} {said}   see: logs {path.stem}"))


def report(event: ChildChanged, last_words: Sequence[str], workers: Iterable[Record]) -> str:
    """As text, for people."""
    lines = [f"{event.child} ended at {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(event.at))}", f"cause: {event.cause or 'unknown'}"]
    if issue := known_issue(last_words):
        lines.append(f"known: {issue}")
    lines.append("workers:")
    lines += [f"  {each.endpoint}  {each.state.value}  {each.health}  {each.detail}".rstrip() for each in workers] or ["  none"]
    return "\n".join([*lines, "last words:", *(f"  {line}" for line in last_words), ""])


def known_issue(lines: Iterable[str]) -> str | None:
    return next((issue for line in lines for pattern, issue in _KNOWN if re.search(pattern, line)), None)


def _tidy(folder: Path) -> None:
    for path in sorted(folder.glob("report-*.log"))[:-KEPT]:
        with contextlib.suppress(OSError):
            path.unlink()
