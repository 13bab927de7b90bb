"""One process: how it is started, what it may inherit, and how its end is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from synaptic.errors import EngineError, os_reason, unwritten
from synaptic.process.child_log import fresh


@dataclasses.dataclass(frozen=True)
class Spec:
    """What to run. `argv` and `variables` are the whole truth: nothing is inherited."""

    name: str
    argv: tuple[str, ...]
    variables: Mapping[str, str]
    log: Path


class Spawned:
    """A child of ours that runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self.exited = watch_exit(process)

    def signal(self, number: signal.Signals) -> bool:
        """Signal the whole group; False when there is nobody left."""
        if self.exited.done():
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def let_go(self) -> None:
        """Its thread waits on; it may outlive us."""


def spawn(spec: Spec) -> Spawned:
    """Start it, writing to a fresh log. Raises SynapticError (no log) or EngineError (no program)."""
    try:
        log = fresh(spec.log)
    except OSError as error:
        raise unwritten(spec.log, error) from error
    with log:
        try:
            process = subprocess.Popen(
                spec.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(spec.variables),
                cwd="/",
                start_new_session=True,  # Ctrl-C in our terminal is ours; and the whole group dies together
                restore_signals=False,  # SIGPIPE stays ignored: an rpc-server dies of it when a client leaves
            )
        except OSError as error:
            raise EngineError(f"cannot start {spec.argv[0]}: {os_reason(error)}", hint="try: engine list") from error
    if sys.platform == "linux":
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))  # a core file would be as large as the model
    return Spawned(process)


def watch_exit(process: subprocess.Popen[bytes]) -> asyncio.Future[int | None]:
    """A future of the exit code. A thread of its own waits: portable, and it may outlive the loop."""
    loop = asyncio.get_running_loop()
    exited: asyncio.Future[int | None] = loop.create_future()

    def tell(code: int) -> None:
        if not exited.done():
            exited.set_result(code)

    def wait() -> None:
        code = process.wait()
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to tell
            loop.call_soon_threadsafe(tell, code)

    threading.Thread(target=wait, name=f"wait-{process.pid}", daemon=True).start()
    return exited


def ending(code: int | None) -> str:
    """An exit code in words: `exit code 1`, `SIGABRT`. None: it was not our child."""
    if code is None:
        return "its exit code went to another process"
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
