"""
Whether to ask a server that failed.

    closed ── failed ──► open ── its rest is over ──► half-open ── one trial ──► closed, or open for longer

The rest doubles with each failure in a row, up to five minutes, and varies, so that those who failed together do not
come back together.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FIRST_REST = 2.0  # seconds
LONGEST_REST = 300.0
VARIES = 0.25  # of the rest, up and down


class Circuit:
    def __init__(self, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random) -> None:
        """`chance` is even between 0 and 1."""
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._until = 0.0
        self._is_trying = False

    @property
    def is_closed(self) -> bool:
        return self._failures == 0

    @property
    def lets_in(self) -> bool:
        """Whether a request may go now: always, or as the one trial."""
        return self.is_closed or (self.rest == 0.0 and not self._is_trying)

    @property
    def rest(self) -> float:
        """Seconds left of it."""
        return 0.0 if self.is_closed else max(0.0, self._until - self._clock())

    def begin(self) -> None:
        self._is_trying = not self.is_closed

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        self._is_trying = False
        rest = min(LONGEST_REST, FIRST_REST * 2 ** min(self._failures - 1, 20))
        self._until = self._clock() + min(LONGEST_REST, rest * (1 + VARIES * (2 * self._chance() - 1)))

    def gave_up(self) -> None:
        """The request ended before it proved anything."""
        self._is_trying = False

    def forgive(self) -> None:
        """The user wants to know now: the rest is over."""
        self._until = 0.0
        self._is_trying = False
