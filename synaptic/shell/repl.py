"""The interactive loop. Ctrl-C ends what runs, never the shell; Ctrl-D, `exit` and SIGTERM end the shell."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from prompt_toolkit import PromptSession
from prompt_toolkit.input.typeahead import clear_typeahead
from prompt_toolkit.patch_stdout import patch_stdout

from synaptic.commands.registry import Registry
from synaptic.events import ChildSpoke, Event
from synaptic.results import plural
from synaptic.services import agreed, cannot_ask
from synaptic.shell import keyboard, signals
from synaptic.shell.colours import AMBER
from synaptic.shell.editor import InterruptError, line_editor
from synaptic.shell.face import Face
from synaptic.shell.line import run_line
from synaptic.shell.notices import Notices
from synaptic.shell.script import run_script
from synaptic.shell.toolbar import banner

if TYPE_CHECKING:
    from synaptic.session import Session

__all__ = ["run", "run_line", "run_script"]

TWICE_WITHIN = 2.0  # seconds between two Ctrl-C that ask for the way out
GREETING_WAITS = 0.25  # seconds the banner waits for the workers' answers
GRACE = 1.0  # seconds to keep a coordinator from being stopped
T = TypeVar("T")
_logger = logging.getLogger(__name__)


async def run(session: Session, registry: Registry, face: Face) -> int:
    """Until the user leaves: 0, or 128 + the signal that ended it. Closes the session."""
    return await Repl(session, registry, face).run()


class Repl:
    def __init__(self, session: Session, registry: Registry, face: Face) -> None:
        self._session = session
        self._registry = registry
        self._face = face
        self._editor = line_editor(session, registry, face)
        self._notices = Notices(session.bus, face)
        self._running: asyncio.Task[Any] | None = None  # what Ctrl-C ends
        self._was_between = False  # Ctrl-C came when the line was read and did not run yet
        self._ended_by: signal.Signals | None = None
        self._pressed_at = float("-inf")  # the last Ctrl-C on an empty prompt
        self._prefill = ""
        self._check: asyncio.Task[Any] | None = None  # of the workers, at the start

    async def run(self) -> int:
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGINT: self._interrupt,
            **{number: partial(self._end, number) for number in signals.END},
        }
        with keyboard.quiet(self._session.environment.stdin), signals.heard(handlers), self._wired(), self._notices:
            await self._greet()
            while not self._ended_by:
                line = await self._read()
                if line is None:
                    break
                await self._run_line(line)
                if self._face.wishes.leave:
                    break
            await self._leave()
        return 128 + self._ended_by if self._ended_by else 0

    @contextlib.contextmanager
    def _wired(self) -> Iterator[None]:
        """The session and the loop know that a shell is around."""
        session, loop = self._session, asyncio.get_running_loop()
        session.is_shell = self._face.offers = True
        if session.confirm is cannot_ask:
            session.confirm = self._confirm
        loop.set_exception_handler(_to_log)
        session.bus.tap(self._redraw)
        try:
            yield
        finally:
            session.bus.untap(self._redraw)

    async def _greet(self) -> None:
        """One line of state. Asks the known workers and waits only for those that answer at once; scans nothing."""
        for warning in self._session.settings.warnings:
            self._face.aside(f"! {warning}", AMBER)
        self._check = asyncio.create_task(self._session.know_backends().check())
        await asyncio.wait([self._check], timeout=GREETING_WAITS)
        self._face.aside(banner(self._session.snapshot()), "")
        self._session.rounds.start()

    async def _read(self) -> str | None:
        """The next line; None: the user leaves."""
        while not self._ended_by:
            self._notices.flush()
            default, self._prefill, self._was_between = self._prefill, "", False
            try:
                return await self._interruptible(self._ask(default))
            except EOFError:
                return None
            except InterruptError:
                self._clear_line()
        return None

    async def _ask(self, default: str) -> str:
        # only around the prompt: its proxy would garble an answer that streams
        with patch_stdout(raw=True):
            self._notices.is_open = True
            try:
                return await self._editor.prompt_async(default=default, handle_sigint=False, set_exception_handler=False)
            finally:
                self._notices.is_open = False

    def _clear_line(self) -> None:
        if self._ended_by or self._editor.default_buffer.text:
            return
        now = time.monotonic()
        if now - self._pressed_at < TWICE_WITHIN:
            self._face.aside('Ctrl-D or "exit" leaves.')
        self._pressed_at = now

    async def _run_line(self, line: str) -> None:
        try:
            await self._interruptible(run_line(self._session, self._registry, self._face, line))
        except InterruptError:
            self._face.aside("interrupted")
        self._prefill, self._face.wishes.prefill = self._face.wishes.prefill, ""

    async def _interruptible(self, work: Coroutine[Any, Any, T]) -> T:
        """Raises InterruptError when Ctrl-C or a signal ended it."""
        self._running = running = asyncio.create_task(work)
        if self._was_between:
            running.cancel()
        try:
            return await running
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task and task.cancelling():  # the whole program ends
                raise
            raise InterruptError from None
        finally:
            self._running = None

    async def _confirm(self, question: str) -> bool:
        if agreed.get():
            return True
        self._face.hide_progress(muted=True)
        asking: PromptSession[str] = PromptSession(interrupt_exception=InterruptError)
        try:
            with patch_stdout(raw=True):
                answer = await asking.prompt_async(f"{question} [y/N] ", handle_sigint=False, set_exception_handler=False)
        except (InterruptError, EOFError):
            return False
        finally:
            self._face.hide_progress(muted=False)
        return answer.strip().lower() in ("y", "yes")

    async def _leave(self) -> None:
        """Stop what this shell started, unless the user would rather keep it."""
        keep, self._was_between = bool(self._face.wishes.leave and self._face.wishes.leave.keep), False
        if not (keep or self._ended_by) and (running := self._session.running):
            self._face.aside(f"stopping {plural(len(running), 'coordinator')}… (Ctrl-C to leave it running)")
        try:
            await self._interruptible(self._close(keep))
        except InterruptError:
            await self._session.close(keep=True)

    async def _close(self, keep: bool) -> None:
        if self._session.running and not keep and not self._ended_by:
            await asyncio.sleep(GRACE)  # or nobody could press Ctrl-C in time
        await self._session.close(keep=keep)

    def _interrupt(self) -> None:
        clear_typeahead(self._editor.app.input)  # as the terminal forgets its own: of 200 pasted lines, not the next 199
        if self._running and not self._running.done():
            self._running.cancel()
        else:
            self._was_between = True

    def _end(self, number: signal.Signals) -> None:
        self._ended_by = number
        self._interrupt()

    def _redraw(self, event: Event) -> None:
        if not isinstance(event, ChildSpoke):  # a log changes nothing in the toolbar
            self._editor.app.invalidate()


def _to_log(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _logger.error("%s", context.get("message"), exc_info=context.get("exception"))
