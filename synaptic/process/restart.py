"""When a process that died is started again. Pure: times in, a decision out."""

from __future__ import annotations

from collections.abc import Sequence

MOST, WITHIN = 5, 300.0  # starts, in so many seconds; then it stays down until the user acts
LONGEST = 60.0  # seconds


def delay(starts: Sequence[float], now: float, spread: float) -> float | None:
    """Seconds to wait before the next start; None: no more. `starts` and `now` on one clock, `spread` from 0.5 to 1.5."""
    recent = [start for start in starts if now - start < WITHIN]
    if len(recent) >= MOST:
        return None
    return min(2.0 ** max(len(recent) - 1, 0), LONGEST) * spread
