"""Results on a terminal, in a pipe, as JSON: each kind in its way, and what goes wrong on the way."""

from __future__ import annotations

import errno
import logging
import traceback

from synaptic import log
from synaptic.errors import SynapticError, os_reason
from synaptic.events import Bus
from synaptic.results import Leave, Lines, Result, Stream, Watch
from synaptic.shell.paper import Paper, discard
from synaptic.shell.stream import show_lines, show_stream, show_watch
from synaptic.terminal import one_line

CLOSED_PIPE = 141  # 128 + SIGPIPE: whoever read our output has seen enough

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

_logger = logging.getLogger(__name__)


class Face(Paper):
    async def show(self, result: Result, bus: Bus) -> int:
        """The exit code. Raises SynapticError where an answer never began; CancelledError where nothing was shown yet."""
        try:
            return await self._show(result)
        except BrokenPipeError:
            discard(self.environment.stdout)
            return CLOSED_PIPE

    def crash(self, error: Exception) -> int:
        """Something that no command foresaw: one line here, the rest in the log."""
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            where = f" {error.filename}" if error.filename else ""
            why = f"cannot write{where}: {os_reason(error)}"
            return self.fail(SynapticError(why, hint="is the disk full, or the folder not yours? see: doctor"))
        _logger.error("something went wrong inside", exc_info=error)
        state = self.environment.state_dir
        path = state / "logs" / log.NAME if state else None
        details = tuple("".join(traceback.format_exception(error)).splitlines()) if self.debug else ()
        what = f"something went wrong inside: {one_line(f'{type(error).__name__}: {error}')}"
        return self.fail(SynapticError(what, hint=f"the details are in {path}" if path else "try again with --debug", details=details))

    async def _show(self, result: Result) -> int:
        match result:
            case Stream():
                return await show_stream(self, result)
            case Lines():
                return await show_lines(self, result)
            case Watch():
                return await show_watch(self, result)
            case Leave():
                self.wishes.leave = result
                return 0
            case _:
                return self.show_at_once(result)
