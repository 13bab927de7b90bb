"""What each machine did while it was measured, on average and at most, from what was watched once a second."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from synaptic.bench.result import Result
from synaptic.results import Rows, gib

Series = Sequence[Mapping[str, Any]]
NOTHING = "–"


@dataclasses.dataclass(frozen=True)
class Seen:
    """`series` as the result keeps it, at least one moment."""

    node: str
    series: Series

    def values(self, name: str) -> list[float]:
        return [float(value) for each in self.series if isinstance(value := each.get(name), int | float)]

    @property
    def gpus(self) -> list[float]:
        """The busiest one of each moment."""
        busy = [[gpu["busy"] for gpu in each.get("gpus") or () if gpu.get("busy") is not None] for each in self.series]
        return [float(max(each)) for each in busy if each]

    def rate(self, name: str) -> float | None:
        """Bytes/s. The first moment counts from one that is not kept."""
        seconds = self.series[-1]["at"] - self.series[0]["at"]
        return sum(self.values(name)[1:]) / seconds if seconds > 0 and self.values(name) else None


def nodes(result: Result) -> Rows[Seen]:
    return Rows(
        key="nodes",
        items=[Seen(node, series) for node, said in result.telemetry.items() if (series := _series(said))],
        columns={
            "watched": lambda each: each.node,
            "moments": lambda each: str(len(each.series)),
            "processor": lambda each: _percent(each.values("cpu")),
            "GPU": lambda each: _percent(each.gpus),
            "memory": lambda each: gib(int(max(each.values("memory")))) if each.values("memory") else NOTHING,
            "sent": lambda each: _bytes(each.rate("sent")),
            "received": lambda each: _bytes(each.rate("received")),
            "requests": _requests,
        },
        empty="nothing was watched for long enough",
    )


def _series(said: object) -> Series:
    found = said.get("series") if isinstance(said, dict) else None
    return [each for each in found if isinstance(each, dict) and "at" in each] if isinstance(found, list) else []


def _percent(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.0f}%, at most {max(values):.0f}%" if values else NOTHING


def _bytes(rate: float | None) -> str:
    return NOTHING if rate is None else f"{rate / 1e6:.2f} MB/s"


def _requests(each: Seen) -> str:
    working, waiting = each.values("running"), each.values("waiting")
    return f"{statistics.fmean(working):.1f} at work, {statistics.fmean(waiting):.1f} waiting" if working and waiting else NOTHING
