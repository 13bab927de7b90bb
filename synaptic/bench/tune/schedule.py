"""
In which order configurations are visited, how many of them the time allows, and when a stretch of it does not count. Pure.

    anchor  c3 c1 c4 c2  anchor  c5 c6  anchor     one round; the next one in another order
"""

from __future__ import annotations

import random
from collections.abc import Sequence

BETWEEN = 4  # candidates at most between two visits to the anchor
LEAST_ROUNDS = 3  # with fewer visits of each nothing is judged


def visits(candidates: int, rounds: int) -> int:
    """How many there are in all, after the first one to the anchor."""
    return rounds * (candidates + -(-candidates // BETWEEN))


def affordable(seconds: float, visit: float, candidates: int, rounds: int) -> tuple[int, int]:
    """How many of the candidates, and in how many rounds, in `seconds` when a visit takes `visit`. (0, 0): not even one."""
    for count in range(candidates, 0, -1):
        for repeats in range(rounds, min(rounds, LEAST_ROUNDS) - 1, -1):
            if visits(count, repeats) * visit <= seconds:
                return count, repeats
    return 0, 0


def blocks(names: Sequence[str], number: int, seed: int) -> list[tuple[str, ...]]:
    """Round `number`: what lies between the visits to the anchor."""
    shuffled = random.Random(f"{seed} {number}").sample(list(names), len(names))
    return [tuple(shuffled[start : start + BETWEEN]) for start in range(0, len(shuffled), BETWEEN)]


def has_drifted(before: float, after: float, tolerance: float) -> bool:
    """Two visits to the anchor. `tolerance`: the part by which one may be above the other."""
    low, high = sorted((before, after))
    return low <= 0 or high / low > 1 + tolerance
