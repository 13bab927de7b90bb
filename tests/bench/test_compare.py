from __future__ import annotations

import dataclasses

import pytest
from bench.measurements import result, sample

from synaptic.bench.compare import compare
from synaptic.bench.result import Result
from synaptic.errors import UsageError

SLOW = [[sample(100.0 + step)] * 2 for step in range(3)]
FAST = [[sample(50.0 + step)] * 2 for step in range(3)]


def test_half_the_time_is_better_and_more_than_chance() -> None:
    found = {each.metric: each for each in compare(result(*SLOW), result(*FAST, name="two"))}
    ttft = found["ttft"].difference
    assert ttft
    assert ttft.ratio == pytest.approx(51 / 101, rel=1e-3)
    assert ttft.low < ttft.ratio < ttft.high < 1
    assert (found["ttft"].a, found["ttft"].b, found["ttft"].verdict) == (101.0, 51.0, "better")
    assert found["tpot"].verdict == found["throughput"].verdict == "no difference that is more than chance"


def test_more_throughput_is_better_and_less_is_worse() -> None:
    slow, fast = result(*SLOW, seconds=2.0), result(*SLOW, seconds=1.0)
    assert {each.metric: each.verdict for each in compare(slow, fast)}["throughput"] == "better"
    assert {each.metric: each.verdict for each in compare(fast, slow)}["throughput"] == "worse"


def test_one_repeat_proves_nothing() -> None:
    assert {each.verdict for each in compare(result(SLOW[0]), result(FAST[0]))} == {"not known"}


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (result(*FAST, model="b" * 64), "their models differ"),
        (result(*FAST, profile="c" * 64), "their profiles differ"),
        (result(*FAST, [sample(error="the answer ended early")]), "1 of 7 requests failed or broke off"),
        (result(*FAST, [sample(cached=12)]), "found a part of the prompt in the server's cache"),
        (dataclasses.replace(result(*FAST), complete=False), "was interrupted"),
    ],
)
def test_what_cannot_be_compared_is_refused_unless_forced(other: Result, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        compare(result(*SLOW), other)
    assert len(compare(result(*SLOW), other, force=True)) == 6


def test_without_a_load_in_common_there_is_nothing_to_compare() -> None:
    one = result(*SLOW)
    other = dataclasses.replace(one, points=(dataclasses.replace(one.points[0], concurrency=3),))
    with pytest.raises(UsageError, match="no mix and load in common"):
        compare(one, other, force=True)


def test_a_template_that_the_server_knows_already_disturbs_nothing() -> None:
    known = result(*([sample(cached=5)] * 2 for _ in range(3)))  # of 20 tokens
    assert (known.points[0].cache.hits, known.points[0].why_not) == (6, "")
