"""The application's log, live: what is logged under `synaptic`, and what happens, told there in sentences."""

from __future__ import annotations

import asyncio
import collections
import logging
from pathlib import Path

from synaptic.events import (
    BackendChecked,
    ChildChanged,
    Event,
    GenerationFinished,
    GenerationStarted,
    GenerationWentOn,
    ModelPlaced,
    Noticed,
    RouteChosen,
    SettingChanged,
)
from synaptic.results import gib, plural
from synaptic.terminal import one_line, visible
from synaptic.web.hub import Feed

EARLIER = 64 * 1024  # bytes of the log file that a latecomer sees
LINES = 200
_logger = logging.getLogger("synaptic.events")


def lost_lines(count: int) -> str:
    return f"… {plural(count, 'line')} lost here: this viewer was too slow"


class Journal(logging.Handler):
    """Hands every line to `feed`, from whatever thread it comes. Install it in the loop's own thread."""

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def install(self, earlier: Path | None) -> None:
        for line in _tail(earlier):
            self._feed.publish(line)
        logging.getLogger("synaptic").addHandler(self)

    def remove(self) -> None:
        logging.getLogger("synaptic").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = visible(self.format(record))
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._publish, text)

    def _publish(self, text: str) -> None:
        for line in text.splitlines():
            self._feed.publish(line)


def write_down(event: Event) -> None:
    """What happened, as a line of the application's log."""
    if sentence := told(event):
        _logger.log(logging.WARNING if is_bad(event) else logging.INFO, "%s", one_line(sentence, 1000))


def is_bad(event: Event) -> bool:
    """Whether a person who looks for the trouble wants to see it."""
    match event:
        case Noticed():
            return event.attention
        case ChildChanged():
            return event.after == "failed"
        case BackendChecked():
            return event.health in ("lost", "down", "incompatible")
        case GenerationFinished():
            return not event.complete
    return isinstance(event, GenerationWentOn)


def told(event: Event) -> str | None:
    """None: not worth a line."""
    match event:
        case Noticed():
            return event.text
        case ChildChanged():
            return f"{event.child}: {event.before} → {event.after}{_aside(event.cause)}"
        case BackendChecked():
            if event.detail.startswith("in use"):  # and by whom
                return f"{event.kind} {event.endpoint} is {event.detail}"
            return f"{event.kind} {event.endpoint} is {event.state}{_aside(event.detail)}"
        case ModelPlaced():
            return f"{event.model} lies at {', '.join(f'{name} ({gib(size)})' for name, size in event.bytes_by_device)}"
        case RouteChosen():
            return f"{event.model} goes via {event.via}: {event.why}"
        case GenerationStarted():
            return f"answer {event.generation}: {event.model} at {event.via} on {event.where}"
        case GenerationWentOn():
            return f"answer {event.generation} goes on after {plural(event.tokens, 'token')}, on {event.where}: {event.cause}"
        case GenerationFinished():
            rate = f", {event.tokens_per_second:.1f} tok/s" if event.tokens_per_second else ""
            end = "" if event.complete else f", incomplete{f': {event.cause}' if event.cause else ''}"
            return f"answer {event.generation}: {plural(event.tokens, 'token')}{rate}{end}"
        case SettingChanged():
            return f"setting {event.key} changed"
    return None


def _aside(said: str) -> str:
    return f" ({said})" if said else ""


def _tail(path: Path | None) -> list[str]:
    try:
        if path is None:
            return []
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - EARLIER))
            raw = collections.deque(file, maxlen=LINES)
    except OSError:
        return []
    return [visible(line.decode(errors="replace").rstrip("\n")) for line in raw]
