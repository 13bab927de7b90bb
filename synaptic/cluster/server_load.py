"""How busy a server of models is, by its own account. Values only."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Percentiles:
    """The median and the ninetieth of a hundred, in seconds, since the server started."""

    p50: float
    p90: float


@dataclasses.dataclass(frozen=True)
class ServerLoad:
    """
    Requests of everybody, not of ours alone. None: it did not say.

    `kv_used`, `prefix_hits`: parts of one; of the KV cache, and of the tokens of prompts that were found in it.
    """

    running: int = 0
    waiting: int = 0
    kv_used: float | None = None
    ttft: Percentiles | None = None
    itl: Percentiles | None = None  # between two tokens of one answer
    prefix_hits: float | None = None
    preemptions: int | None = None  # answers that lost their place in the cache, and were computed again

    @property
    def summary(self) -> str:
        """`KV cache 42% · first token 120 ms (p90 400 ms)`, less what is not known."""
        parts = [
            f"KV cache {self.kv_used:.0%}" if self.kv_used is not None else "",
            f"first token {_seconds(self.ttft.p50)} (p90 {_seconds(self.ttft.p90)})" if self.ttft else "",
            f"between tokens {_seconds(self.itl.p50)} (p90 {_seconds(self.itl.p90)})" if self.itl else "",
            f"prefix hits {self.prefix_hits:.0%}" if self.prefix_hits else "",
            f"{self.preemptions} preempted" if self.preemptions else "",
        ]
        return " · ".join(filter(None, parts))


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
