"""
What a row of looks at one worker's port says about it. Pure: time is passed in, in seconds of any steady clock.

    ready ── 3 bad looks in a row, or 3 drops in a minute ──▶ lost
    not asked yet ── 3 bad looks in a row ──▶ lost
    lost, not asked yet ── 2 good looks, and its time out is over ──▶ due for a handshake ── answered ──▶ ready

The first loss costs no time out; one that comes and goes gets 30 s more with each further loss, at most 300 s. The
time out is for those that have a substitute: it is never applied while no other worker is ready.
"""

from __future__ import annotations

import dataclasses
import enum

FALL = 3
RISE = 2
FLAP_WINDOW = 60.0
STEP = 30.0
LONGEST = 300.0
CALM = 300.0  # ready for so long: earlier losses are forgotten
UNANSWERED = 60.0  # an open port that failed the handshake is not asked again for so long


class Step(enum.Enum):
    NOTHING = "nothing"
    LOSE = "lose"
    SHAKE = "shake"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`rest`: seconds for which the worker is left out whatever it answers."""

    step: Step
    detail: str = ""
    rest: float = 0.0


_NOTHING = Verdict(Step.NOTHING)


class Health:
    """Of one worker. `is_lost`: it was not ready when we first looked; `is_unasked`: nor is it known why, nobody asked it."""

    def __init__(self, *, is_lost: bool = False, is_unasked: bool = False) -> None:
        self.is_lost = is_lost or is_unasked
        self._is_unasked = is_unasked
        self._bad = 0
        self._good = 0
        self._losses = 0
        self._drops: list[float] = []
        self._not_before = 0.0  # no handshake until then, unless it is the only one
        self._asked_until = 0.0  # it failed a handshake: no other until then
        self._ready_since: float | None = None

    @property
    def is_doubtful(self) -> bool:
        """It failed its last look, and is not given up: look again soon."""
        return (self._is_unasked or not self.is_lost) and self._bad > 0

    def look(self, now: float, trouble: str, *, has_substitute: bool, after_gap: bool = False) -> Verdict:
        """`trouble`: what was wrong, empty for an open port. After a gap in time a bad look proves nothing, nor do those before it."""
        if after_gap:
            self._bad, self._drops = 0, []
        if not trouble:
            return self._look_good(now, has_substitute=has_substitute)
        if after_gap:
            self._bad, self._good = 1, 0
            return _NOTHING
        return self._look_bad(now, trouble, has_substitute=has_substitute)

    def admitted(self, now: float) -> None:
        """It answered a handshake, ours or another's."""
        self._is_unasked = False
        self.is_lost, self._bad, self._good, self._drops = False, 0, 0, []
        self._ready_since = now

    def refused(self, now: float) -> None:
        """Its port is open, and the handshake failed."""
        self._is_unasked = False
        self._good, self._asked_until = 0, now + UNANSWERED

    def _look_good(self, now: float, *, has_substitute: bool) -> Verdict:
        self._bad = 0
        if not self.is_lost:
            return _NOTHING
        self._good += 1
        if self._good < RISE or now < self._asked_until or (has_substitute and now < self._not_before):
            return _NOTHING
        return Verdict(Step.SHAKE)

    def _look_bad(self, now: float, trouble: str, *, has_substitute: bool) -> Verdict:
        self._bad, self._good, self._asked_until = self._bad + 1, 0, 0.0
        if self._is_unasked and self._bad >= FALL:
            self._is_unasked = False
            return Verdict(Step.LOSE, trouble)
        if self.is_lost:
            return _NOTHING
        if self._bad == 1:
            self._drops = [*(drop for drop in self._drops if now - drop < FLAP_WINDOW), now]
        if self._bad < FALL and not (has_substitute and len(self._drops) >= FALL):
            return _NOTHING
        return self._lose(now, trouble)

    def _lose(self, now: float, trouble: str) -> Verdict:
        if self._ready_since is not None and now - self._ready_since >= CALM:
            self._losses = 0
        flaps = self._bad < FALL
        self.is_lost, self._losses = True, self._losses + 1
        rest = min(STEP * (self._losses if flaps else self._losses - 1), LONGEST)
        self._not_before = now + rest
        return Verdict(Step.LOSE, f"it comes and goes; {trouble}" if rest else trouble, rest)
