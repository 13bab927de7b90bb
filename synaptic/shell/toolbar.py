"""The state in one line: below the prompt, and once at the start. Pure functions of a snapshot."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from prompt_toolkit.formatted_text import StyleAndTextTuples

from synaptic import __version__
from synaptic.results import plural
from synaptic.shell import colours
from synaptic.terminal import one_line, printable

if TYPE_CHECKING:
    from synaptic.session import Snapshot

ATTENTION = f"fg:{colours.ATTENTION}"  # the toolbar is reversed: this is its ground
NO_MODEL = "demo"  # what answers when no model was chosen


def toolbar(now: Snapshot, encoding: str | None = "utf-8") -> StyleAndTextTuples:
    cells = [("", f"distributed {_on(now)}"), _workers(now), *(("", text) for text in _models(now))]
    if now.tokens_per_second:
        cells.append(("", f"{now.tokens_per_second:.1f} tok/s"))
    fragments: StyleAndTextTuples = [("", " ")]
    for index, (style, text) in enumerate(cells):
        fragments += [("", " │ ")] if index else []
        fragments.append((style, text))
    return [(style, printable(text, encoding)) for style, text, *_ in fragments]


def banner(now: Snapshot) -> str:
    if not now.known:
        return f"synaptic {__version__} · no workers yet · try: demo, or: rpc discover"
    ready = plural(now.ready, "worker") if now.ready == now.known else f"{now.ready} of {plural(now.known, 'worker')}"
    return f"synaptic {__version__} · {ready} ready · distributed {_on(now)} · type help, or just ask"


def _on(now: Snapshot) -> str:
    return "on" if now.distributed else "off"


def _workers(now: Snapshot) -> tuple[str, str]:
    if not now.known:
        return "", "no workers"
    lost = f", {now.lost} lost" if now.lost else ""
    return ATTENTION if now.lost else "", f"{now.ready}/{plural(now.known, 'worker')}{lost}"


def _models(now: Snapshot) -> list[str]:
    """The one that answers, with its coordinator; beside it the one that is loaded, where that is another."""
    chosen = now.model or NO_MODEL
    loaded = now.coordinator_model or chosen
    if not now.coordinator or (loaded != chosen and now.coordinator_state == "stopped"):
        return [_short(chosen)]
    cell = f"{_short(loaded)} → {now.coordinator} {now.coordinator_state or ''}".rstrip()
    return [cell] if loaded in (chosen, PurePath(chosen).stem) else [_short(chosen), cell]


def _short(model: str) -> str:
    """A file stands without its folders: one line has no room for them."""
    return one_line(PurePath(model).name if PurePath(model).is_absolute() else model, 40)
