"""A server that failed rests, longer each time, and comes back by one trial."""

from __future__ import annotations

import pytest

from synaptic.cluster.circuit import FIRST_REST, LONGEST_REST, Circuit


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_opens_with_the_first_failure_and_lets_one_trial_in_after_the_rest(clock: Clock) -> None:
    circuit = Circuit(clock, lambda: 0.5)
    assert circuit.is_closed
    assert circuit.lets_in
    circuit.failed()
    assert (circuit.is_closed, circuit.lets_in, circuit.rest) == (False, False, FIRST_REST)
    clock.now += FIRST_REST
    assert circuit.lets_in
    circuit.begin()
    assert not circuit.lets_in  # one at a time
    circuit.succeeded()
    assert circuit.is_closed
    assert circuit.lets_in


def test_each_failure_in_a_row_doubles_the_rest_up_to_five_minutes(clock: Clock) -> None:
    circuit = Circuit(clock, lambda: 0.5)
    rests = []
    for _ in range(12):
        circuit.failed()
        rests.append(circuit.rest)
    assert rests[:5] == [2, 4, 8, 16, 32]
    assert rests[-1] == LONGEST_REST
    circuit.succeeded()
    circuit.failed()
    assert circuit.rest == FIRST_REST


@pytest.mark.parametrize(("chance", "rest"), [(0.0, 1.5), (1.0, 2.5)])
def test_rests_vary(clock: Clock, chance: float, rest: float) -> None:
    circuit = Circuit(clock, lambda: chance)
    circuit.failed()
    assert circuit.rest == pytest.approx(rest)
    for _ in range(20):
        circuit.failed()
    assert circuit.rest <= LONGEST_REST


def test_a_trial_that_proved_nothing_may_be_repeated(clock: Clock) -> None:
    circuit = Circuit(clock)
    circuit.failed()
    clock.now += 10
    circuit.begin()
    circuit.gave_up()
    assert circuit.lets_in
    assert not circuit.is_closed


def test_the_user_may_end_the_rest(clock: Clock) -> None:
    circuit = Circuit(clock)
    circuit.failed()
    circuit.forgive()
    assert circuit.lets_in
    circuit.failed()
    assert circuit.rest > FIRST_REST * 1.4  # it counts on
