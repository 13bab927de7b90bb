"""
The visits themselves: the anchor, a few candidates, the anchor again, round after round, while the time lasts.

What lies between two visits to the anchor that differ too much does not count, and is tried once more. What was
measured so far is in `visits` at any time: whoever is interrupted keeps it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from synaptic.bench.tune.schedule import LEAST_ROUNDS, affordable, blocks, has_drifted, visits
from synaptic.bench.tune.values import Candidate, Objective, Visit
from synaptic.bench.tune.verdict import WORSE, judged, pace
from synaptic.errors import EngineError, UsageError
from synaptic.results import plural

TRIES = 3  # of one stretch between two visits to the anchor
MORE = 2  # times as many rounds, for what was discarded in some of them


class Trials(Protocol):
    async def visit(self, candidate: Candidate, seed: int) -> Visit:
        """Load it, warm it up, measure it once. Raises EngineError when it does not load, or does not answer."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """`seconds` in all; `rounds` at most; `drift`: the part by which two visits to the anchor may differ."""

    seconds: float
    rounds: int
    drift: float


class Tuning:
    """`tell` hears (what, visits done, visits in all). `left_out`: candidates that were not measured after all, and why."""

    def __init__(
        self,
        now: Candidate,
        candidates: Sequence[Candidate],
        objective: Objective,
        trials: Trials,
        budget: Budget,
        *,
        seed: int,
        tell: Callable[[str, int, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.visits: dict[str, list[Visit]] = {}
        self.left_out: dict[str, str] = {}
        self.discarded = 0  # visits that do not count
        self._now = now
        self._candidates = [each for each in candidates if not each.why_not]
        self._objective = objective
        self._trials = trials
        self._budget = budget
        self._seed = seed
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._done = self._total = 0

    @property
    def seconds(self) -> float:
        return self._clock() - self._began

    async def run(self) -> None:
        """Raises EngineError when not even the configuration of now can be measured, UsageError when the time allows nothing."""
        self._total = 1 + visits(len(self._candidates), self._budget.rounds)
        last = await self._visit(self._now)
        self._keep(self._now, last)
        rounds = self._choose(last)
        for number in range(MORE * rounds):
            wanting = [each.name for each in self._measured() if len(self.visits.get(each.name, ())) < rounds]
            for block in blocks(wanting, number, self._seed):
                if not self._has_time(len(block) + 1):
                    return
                last = await self._block(block, last)
            self._drop_the_worse(number + 1)

    def _choose(self, first: Visit) -> int:
        """As many of the likely best as the time allows; the rest is left out. The rounds that there is time for."""
        left = self._budget.seconds - self.seconds
        count, rounds = affordable(left, first.seconds, len(self._candidates), self._budget.rounds)
        if self._candidates and not count:
            need = first.seconds * (1 + visits(1, LEAST_ROUNDS)) * 1.2
            raise UsageError(
                f"one visit takes {first.seconds:.0f} s with its loading: {self._budget.seconds:.0f} s allow no comparison",
                hint=f"try: --budget {-(-need // 60):.0f}m, or fewer --requests",
            )
        for each in self._candidates[count:]:
            self.left_out[each.name] = "the budget has no time for it"
        self._total = 1 + visits(count, rounds)
        return rounds

    async def _block(self, names: Sequence[str], before: Visit) -> Visit:
        """The last visit to the anchor."""
        for _ in range(TRIES):
            found = await self._stretch(names)
            after = await self._visit(self._now)
            is_steady = not has_drifted(pace(before.run), pace(after.run), self._budget.drift)
            before = after
            if is_steady:
                for candidate, visit in [*found, (self._now, after)]:
                    self._keep(candidate, visit)
                break
            self.discarded += len(found)
            self._tell(f"the anchor has drifted: {plural(len(found), 'visit')} discarded", self._done, self._total)
            if not self._has_time(len(names) + 1):
                break
        return before

    async def _stretch(self, names: Sequence[str]) -> list[tuple[Candidate, Visit]]:
        """One that does not load is out."""
        found, there = [], {each.name: each for each in self._measured()}
        for candidate in [there[name] for name in names if name in there]:
            try:
                found.append((candidate, await self._visit(candidate)))
            except EngineError as error:
                self.left_out[candidate.name] = f"it failed: {error}"
        return found

    async def _visit(self, candidate: Candidate) -> Visit:
        self._tell(candidate.name, self._done, self._total)
        found = await self._trials.visit(candidate, self._seed * 100_003 + self._done)
        self._done += 1
        self._total = max(self._total, self._done)
        self._tell(candidate.name, self._done, self._total)
        return found

    def _keep(self, candidate: Candidate, visit: Visit) -> None:
        run = dataclasses.replace(visit.run, repeat=len(self.visits.get(candidate.name, [])))
        self.visits.setdefault(candidate.name, []).append(dataclasses.replace(visit, run=run))

    def _measured(self) -> list[Candidate]:
        """In the order of their prediction."""
        return [each for each in self._candidates if each.name not in self.left_out]

    def _drop_the_worse(self, rounds: int) -> None:
        """What is worse by more than chance after a few rounds needs no more."""
        if rounds < LEAST_ROUNDS:
            return
        verdicts = judged(self._now, self._measured(), self.visits, self._objective)
        worse = {each.candidate.name for each in verdicts if each.word == WORSE}
        self._candidates = [each for each in self._candidates if each.name not in worse]

    def _has_time(self, visits_ahead: int) -> bool:
        each = self.seconds / max(self._done, 1)
        return self.seconds + visits_ahead * each <= self._budget.seconds
