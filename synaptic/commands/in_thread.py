"""Blocking work in a thread of its own, with progress, that ends when its command is cancelled."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

from synaptic.events import Work
from synaptic.models.meter import Meter

T = TypeVar("T")
REPAINT = 0.2  # seconds
GRACE = 2.0  # seconds for the thread to see that it shall stop; one that hangs is left behind


async def in_thread(work: Work, what: str, meter: Meter, job: Callable[[], T]) -> T:
    """What `job` returns or raises; it ends soon after `meter.end`. The thread never keeps the program alive."""
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
    threading.Thread(target=_run, args=(job, outcome), name=what, daemon=True).start()
    waiting = asyncio.wrap_future(outcome)
    try:
        while not (await asyncio.wait({waiting}, timeout=REPAINT))[0]:
            work.update(what, done=meter.done, total=meter.total or None, unit="B")
        return waiting.result()
    finally:
        if not waiting.done():
            meter.end()
            await asyncio.wait({waiting}, timeout=GRACE)
            waiting.cancel() if not waiting.done() else waiting.exception()


def _run(job: Callable[[], T], outcome: concurrent.futures.Future[T]) -> None:
    outcome.set_running_or_notify_cancel()  # from here on it cannot be cancelled, only be forgotten
    try:
        result = job()
    except BaseException as error:  # raised again where the outcome is awaited
        outcome.set_exception(error)
    else:
        outcome.set_result(result)
