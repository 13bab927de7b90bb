from __future__ import annotations

from pathlib import Path

import pytest

from synaptic.endpoint import Endpoint
from synaptic.errors import EngineError
from synaptic.models.model import LLAMA_CPP, Model
from synaptic.planning.plan import Plan
from synaptic.process.failed_starts import FailedStarts

MODEL = Model("demo", "shipped", Path("demo.gguf"), "llama", 1, 1, 4, 512, "Q4_0", 1, (LLAMA_CPP,))
PLAN = Plan(MODEL, (Endpoint("127.0.0.1", 50052),), 512)
OTHER = Plan(MODEL, (), 512)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failed(clock: Clock) -> FailedStarts:
    return FailedStarts(clock, lambda: 1.0)


def test_the_first_start_does_not_wait(failed: FailedStarts) -> None:
    assert failed.wait(PLAN) == 0


def test_each_failure_doubles_the_wait_and_time_that_passed_counts(failed: FailedStarts, clock: Clock) -> None:
    waits = []
    for _ in range(4):
        failed.add(PLAN, "worker a was lost", is_final=False)
        waits.append(failed.wait(PLAN))
        clock.now += 0.5
    assert waits == [1, 2, 4, 8]
    assert failed.wait(PLAN) == 7.5


def test_the_fifth_failure_in_five_minutes_is_the_last_until_the_user_acts(failed: FailedStarts, clock: Clock) -> None:
    for _ in range(5):
        failed.add(PLAN, "worker a was lost", is_final=False)
    for plan in (PLAN, OTHER):
        with pytest.raises(EngineError, match="demo failed to start 5 times in 5 minutes: worker a was lost") as caught:
            failed.wait(plan)
        assert "coordinator start demo" in str(caught.value.hint)
    failed.forget("demo")
    assert failed.wait(PLAN) == 0


def test_after_five_minutes_it_may_be_tried_again(failed: FailedStarts, clock: Clock) -> None:
    for _ in range(5):
        failed.add(PLAN, "x", is_final=False)
    clock.now += 301
    assert failed.wait(PLAN) == 0


def test_another_plan_need_not_wait(failed: FailedStarts) -> None:
    failed.add(PLAN, "worker a was lost", is_final=False)
    assert failed.wait(OTHER) == 0
    assert failed.wait(PLAN) == 1


def test_what_a_retry_cannot_cure_is_not_retried_unchanged(failed: FailedStarts, clock: Clock) -> None:
    failed.add(PLAN, "the model file is incomplete", is_final=True)
    clock.now += 10_000
    with pytest.raises(EngineError, match="the model file is incomplete; it was tried, and nothing has changed"):
        failed.wait(PLAN)
    assert failed.wait(OTHER) == 0
