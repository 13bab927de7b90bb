"""Whether two engines computed the same, from what they say of each token."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from synaptic.bench.verify.agreement import ROUNDING, SAME, UNLIKE, WRONG, Step, Written, agreement
from synaptic.bench.verify.culprits import culprits
from synaptic.bench.verify.greedy import by_openai
from synaptic.endpoint import Endpoint

pytestmark = pytest.mark.anyio
A, B, C, D = (Endpoint("10.0.0.1", port) for port in (1, 2, 3, 4))


def written(*steps: tuple[str, Mapping[str, float]]) -> Written:
    return Written("".join(token for token, _ in steps), tuple(Step(token, top[token], top) for token, top in steps))


SURE = ("a", {"a": -0.01, "b": -5.0})
TORN = ("a", {"a": -0.69, "b": -0.70})


@pytest.mark.parametrize(
    ("other", "verdict", "at"),
    [
        (written(SURE, TORN, SURE), SAME, None),
        (written(SURE, ("a", {"a": -0.74, "b": -0.65}), SURE), ROUNDING, None),
        (
            written(SURE, ("b", {"a": -0.70, "b": -0.69}), ("z", {"z": -0.1})),
            ROUNDING,
            1,
        ),  # torn between two: from there on it is another text
        (written(("b", {"a": -5.0, "b": -0.01})), WRONG, 0),
        (written(SURE, ("a", {"a": -0.02, "b": -4.5}), SURE), WRONG, None),  # the same word, by chance
        (written(SURE), ROUNDING, 1),  # it ended earlier; what it said was as likely
    ],
)
def test_the_verdict_is_by_how_likely_the_tokens_were(other: Written, verdict: str, at: int | None) -> None:
    found = agreement(written(SURE, TORN, SURE), other)
    assert (found.verdict, found.at) == (verdict, at)


def test_what_nobody_holds_for_likely_may_differ_as_it_likes() -> None:
    one, two = (written(("a", {"a": -0.01, "b": unlikely})) for unlikely in (-5.0, -9.0))
    assert agreement(one, two).verdict == SAME


def test_a_token_that_is_not_listed_is_at_most_as_likely_as_the_last_that_is() -> None:
    one, two = written(("a", {"a": -0.5, "b": -1.0})), written(("c", {"c": -0.5, "d": -6.0}))
    assert agreement(one, two).gap == pytest.approx(5.5)


def test_without_likelihoods_only_the_words_tell() -> None:
    assert agreement(Written("one two"), Written("one two")).verdict == SAME
    found = agreement(written(SURE), Written("b"))
    assert (found.verdict, found.gap, found.at) == (UNLIKE, None, 0)


def right_without(*bad: Endpoint, only_alone: bool = False):
    asked: list[tuple[Endpoint, ...]] = []

    async def is_right(some: tuple[Endpoint, ...]) -> bool | None:
        asked.append(some)
        return None if only_alone and len(some) > 1 else not set(some) & set(bad)

    return is_right, asked


async def test_one_that_is_wrong_is_found_by_leaving_it_out() -> None:
    is_right, asked = right_without(C)
    assert (await culprits([A, B, C, D], is_right)).workers == (C,)
    assert asked == [(B, C, D), (A, C, D), (A, B, D)]


async def test_two_that_are_wrong_are_found_by_asking_each_alone() -> None:
    is_right, _ = right_without(A, D)
    found = await culprits([A, B, C, D], is_right)
    assert (found.workers, found.is_certain) == ((A, D), True)
    is_right, _ = right_without(A, B)
    assert (await culprits([A, B], is_right)).workers == (A, B)


async def test_where_nothing_can_be_asked_all_are_suspects() -> None:
    async def cannot(_: tuple[Endpoint, ...]) -> bool | None:
        return None

    found = await culprits([A, B], cannot)
    assert (found.workers, found.is_certain) == ((A, B), False)
    assert (await culprits([A], cannot)).is_certain  # it was wrong, and nobody else took part


@pytest.mark.live
async def test_both_forms_of_the_api_say_the_same_of_a_real_server(serving) -> None:
    from synaptic.bench.verify.greedy import by_llama_server

    url = serving()
    own = await by_llama_server(url, None, "A worker is", 12)
    assert len(own.steps) == 12
    assert "".join(step.token for step in own.steps) == own.text
    by_api = await by_openai(url, None, "demo", "A worker is", 12)
    assert by_api.text == own.text
    assert agreement(own, by_api).verdict in (SAME, ROUNDING)
