"""What is looked at again and again while something is measured: one of these for each machine and each server."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from synaptic.results import Json

EVERY = 1.0  # seconds


class Watch(abc.ABC):
    """It looks while its context is open. `node` is what it is called in the report. Subclasses look until they are cancelled."""

    def __init__(self, node: str, every: float = EVERY) -> None:
        self.node = node
        self.every = every
        self.trouble = ""  # why there is nothing, or no more
        self._series: list[Json] = []
        self._cost = 0.0  # seconds of processor time there
        self._began = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watch:
        self._began = time.monotonic()
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._task
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def as_json(self) -> dict[str, Json]:
        """`overhead`: what it costs there, as a share of one core, as far as that is known."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        said: dict[str, Json] = {"every": self.every, "seconds": round(seconds, 3), "overhead": round(self._cost / seconds, 6)}
        return {self.node: {**said, "series": list(self._series), **({"trouble": self.trouble} if self.trouble else {})}}

    @abc.abstractmethod
    async def _look(self) -> None: ...


def merged(watched: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    return {node: said for each in watched for node, said in each.items()}
