"""Signals end work, not the program around it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial

END = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def heard(handlers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """One handler per signal for as long as the context is open: swapping them would leave moments without one."""
    loop = asyncio.get_running_loop()
    for number, call in handlers.items():
        loop.add_signal_handler(number, call)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


async def until_signal(work: Coroutine[object, object, int]) -> int:
    """The code of `work`, or 128 + the signal that cancelled it."""
    running = asyncio.create_task(work)
    numbers: list[int] = []

    def stop(number: int) -> None:
        numbers.append(number)
        running.cancel()

    with heard({number: partial(stop, number) for number in (signal.SIGINT, *END)}):
        try:
            code = await running
        except asyncio.CancelledError:
            if not numbers:
                raise
            code = 0
    return 128 + numbers[0] if numbers else code
