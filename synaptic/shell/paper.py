"""
What is written on: stdout is the answer, stderr the talk. On a terminal both are one place, and asides stand beside the answer.

Everything foreign is made visible here, and nothing ever fails to be encoded.
"""

from __future__ import annotations

import codecs
import contextlib
import copy
import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console
from rich.text import Text
from rich.theme import Theme

from synaptic.environment import Environment
from synaptic.errors import SynapticError, os_reason
from synaptic.events import Bus
from synaptic.results import Facts, Json, Leave, Note, Rows, to_json
from synaptic.shell import colours, render
from synaptic.terminal import printable, visible, wrapped

if TYPE_CHECKING:
    from synaptic.shell.progress import Progress

OFFER = "to send this to the model, press Enter"
OFFER_TO_RUN = "to run it, press Enter"
THEME = Theme(colours.THEME)
LAST_WORDS = 20  # lines

_RAW_IN_JSON = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # json.dumps escapes the others


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # `Face.show` ends with 141; rich would exit with 1


@dataclasses.dataclass
class Wishes:
    """What results and errors ask of the loop around them."""

    prefill: str = ""
    leave: Leave | None = None


class Paper:
    """`offers`: a shell is around that can prefill its next prompt."""

    def __init__(self, environment: Environment, *, as_json: bool = False, plain: bool = False, debug: bool = False) -> None:
        self.environment = environment
        self.as_json = as_json
        self.plain = plain
        self.debug = debug
        self.offers = False
        self.wishes = Wishes()
        self.out = _console(environment.stdout, plain, is_stderr=False)
        self.err = _console(environment.stderr, plain, is_stderr=True)
        self._progress: Progress | None = None

    def in_json(self) -> Self:
        paper = copy.copy(self)
        paper.as_json = True
        return paper

    @property
    def paints(self) -> bool:
        """Whether lines may be painted over."""
        return self.out.is_terminal and not (self.plain or self.as_json or self.out.is_dumb_terminal)

    @contextlib.contextmanager
    def progress(self, bus: Bus) -> Iterator[None]:
        """A spinner while work of `bus` takes long."""
        from synaptic.shell.progress import Progress

        try:
            with Progress(bus, self.err, plain=self.plain) as self._progress:
                yield
        finally:
            self._progress = None

    def fail(self, error: SynapticError) -> int:
        with contextlib.suppress(BrokenPipeError):
            self._fail(error)
        return error.exit_code

    def talk(self, text: str) -> None:
        """A dim sentence on stderr."""
        self._say(self.err, text, "dim")

    def aside(self, text: str, style: str = "dim") -> None:
        """A sentence beside the answer: above or below it on a terminal, else on stderr."""
        self._say(self.out if self.out.is_terminal else self.err, text, style)

    def tail(self, text: str) -> None:
        """How an answer went, at the right edge where there is one."""
        room = self.out.width - len(text) if self.paints else 0
        self.aside(" " * max(room - 1, 0) + text)

    def write(self, text: str) -> None:
        """Text of the answer as it is, without a line end. Raises BrokenPipeError, or SynapticError where a disk is full."""
        self.hide_progress()
        try:
            self.out.file.write(text)
            self.out.file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            discard(self.environment.stdout)
            raise SynapticError(f"the answer could not be written: {os_reason(error)}") from error

    def hide_progress(self, *, muted: bool | None = None) -> None:
        if self._progress:
            self._progress.muted = self._progress.muted if muted is None else muted
            self._progress.hide()

    def progress_beside(self, show: Callable[[str], None] | None) -> None:
        """Who paints the last line takes work into its own picture: an answer that waits for another worker says so."""
        if self._progress:
            self._progress.beside = show

    def document(self, data: Json) -> None:
        """One JSON document on stdout."""
        text = json.dumps(data, indent=2 if self.out.is_terminal else None, ensure_ascii=False)
        text = _RAW_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
        try:
            text.encode(getattr(self.out.file, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            text = json.dumps(data, indent=2 if self.out.is_terminal else None)
        self.write(text + "\n")

    def show_at_once(self, result: Note | Rows[object] | Facts) -> int:
        code = result.exit_code if isinstance(result, Rows) else 0
        if self.as_json:
            self.document(result.as_json())
            return code
        self.hide_progress()
        if self.out.is_terminal:
            self.out.print(render.on_terminal(result, self.out.width), soft_wrap=isinstance(result, Note))
        else:
            self._show_in_pipe(result)
        if isinstance(result, Note):
            self._say_more(result.hint, result.prefill)
        return code

    def _show_in_pipe(self, result: Note | Rows[object] | Facts) -> None:
        self.write("".join(f"{line}\n" for line in render.in_pipe(result)))
        if isinstance(result, Rows) and not result.items:
            self.talk(result.empty)
        if not isinstance(result, Note) and result.summary:
            self.talk(result.summary)

    def _fail(self, error: SynapticError) -> None:
        prefill = getattr(error, "prefill", None)
        if self.as_json:
            self.document(to_json(error.as_json()))
            return
        self._say(self.err, f"✗ {error}", colours.RED)
        self._say_more(error.hint, prefill)
        for line in error.details[-LAST_WORDS:] if not self.debug else error.details:
            self._say(self.err, f"  {line}", "dim", is_verbatim=True)

    def _say_more(self, hint: str | None, prefill: str | None) -> None:
        if prefill and self.offers:
            self.wishes.prefill = prefill
            offer = "" if prefill.endswith(" ") else OFFER if prefill.startswith("ask ") else OFFER_TO_RUN
            hint = "\n  ".join(filter(None, (hint, offer)))
        if hint:
            self._say(self.out if self.out.is_terminal else self.err, f"  {hint}", "dim")

    def _say(self, console: Console, text: str, style: str, *, is_verbatim: bool = False) -> None:
        self.hide_progress()
        text = visible(text)
        if console.is_terminal and not is_verbatim:
            text = wrapped(text, console.width)
        with contextlib.suppress(BrokenPipeError):  # nobody hears us: no reason to fail
            console.print(Text(text, style=style), soft_wrap=True)


def _console(stream: TextIO | None, plain: bool, *, is_stderr: bool) -> Console:
    """rich looks sys.stdout up at every print, so that prompt_toolkit can stand in for it while a prompt is open."""
    _never_fail_to_encode(stream)
    is_terminal = stream is not None and not stream.closed and stream.isatty()
    return _Console(
        file=None if stream is (sys.stderr if is_stderr else sys.stdout) else stream,
        stderr=is_stderr,
        force_terminal=is_terminal,
        color_system=None if plain else "auto",
        theme=THEME,
        highlight=False,
        markup=False,
        emoji=False,
    )


def _never_fail_to_encode(stream: TextIO | None) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure:
        codecs.register_error("synaptic.printable", _replace)
        reconfigure(errors="synaptic.printable")


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return printable(error.object[error.start : error.end], "ascii"), error.end


def discard(stream: TextIO | None) -> None:
    """What is still buffered for a closed pipe goes nowhere, also not at the interpreter's exit."""
    with contextlib.suppress(OSError, ValueError):
        if stream:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
