"""
Whether two engines computed the same, from the same greedy prompt. Pure.

    same       the same tokens, and as likely
    rounding   they differ by no more than kernels may: the sums were added up in another order, or in other blocks
    wrong      a token that one holds for likely is not so for the other: nobody rounds like that
    unlike     other words, and nobody says how likely they were: it cannot be told which of these it is

What may differ: a split over layers changes nothing on machines of one kind and one build; another device, another
engine, and activations in blocks of 8 bits (distributed-llama over several nodes) move a logit by up to 0.4. A text may
part from the other for good where two tokens were about as likely; before that, and there, the figures still tell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

SAME, ROUNDING, WRONG, UNLIKE = "same", "rounding", "wrong", "unlike"
EXACT = 1e-3  # of a log-probability; less is how it is printed
TOLERANCE = 0.25
LIKELY = -4.0  # log-probability; what is less likely than that is noise


@dataclasses.dataclass(frozen=True)
class Step:
    """One token, and how likely it and others were: natural logarithms."""

    token: str
    logprob: float
    top: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Written:
    """`steps` empty: the engine does not say them."""

    text: str
    steps: tuple[Step, ...] = ()


@dataclasses.dataclass(frozen=True)
class Agreement:
    """`gap`: the largest difference of a log-probability; `at`: the first token (or character) that differs. None: not known, none."""

    verdict: str
    gap: float | None
    at: int | None


def agreement(reference: Written, other: Written) -> Agreement:
    """Both wrote greedily, from the same prompt. By their steps where both have some, else by their texts."""
    if not (reference.steps and other.steps):
        at = _first(reference.text, other.text)
        return Agreement(SAME if at is None else UNLIKE, None, at)
    at = _first([step.token for step in reference.steps], [step.token for step in other.steps])
    compared = len(reference.steps) if at is None else at + 1  # until there they were asked the same
    gaps = [gap_of(one, two) for one, two in list(zip(reference.steps, other.steps, strict=False))[:compared]]
    gap = max(gaps, default=0.0)
    if gap > TOLERANCE:
        return Agreement(WRONG, gap, at)
    return Agreement(SAME if at is None and gap <= EXACT else ROUNDING, gap, at)


def gap_of(one: Step, two: Step) -> float:
    """The largest difference of a log-probability, of the tokens that either holds for likely."""
    left, right = ({**step.top, step.token: step.logprob} for step in (one, two))
    likely = {token for said in (left, right) for token, value in said.items() if value >= LIKELY}
    return max((_gap(left, right, token) for token in likely), default=0.0)


def _gap(left: Mapping[str, float], right: Mapping[str, float], token: str) -> float:
    """At least so large: a token that is not listed is at most as likely as the last that is."""
    if token in left and token in right:
        return abs(left[token] - right[token])
    said, other = (left, right) if token in left else (right, left)
    return max(0.0, said[token] - min(other.values()))


def _first(one: Sequence[str], two: Sequence[str]) -> int | None:
    differing = (place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    return next(differing, None if len(one) == len(two) else min(len(one), len(two)))
