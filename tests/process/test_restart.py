from __future__ import annotations

import pytest

from synaptic.process.restart import LONGEST, delay


@pytest.mark.parametrize(("starts", "seconds"), [((0,), 1), ((0, 10), 2), ((0, 10, 20), 4), ((0, 10, 20, 30), 8)])
def test_each_start_is_waited_for_twice_as_long(starts: tuple[float, ...], seconds: float) -> None:
    assert delay(starts, 40.0, 1.0) == seconds


def test_the_fifth_start_in_five_minutes_is_the_last() -> None:
    assert delay((0, 1, 2, 3, 4), 5.0, 1.0) is None


def test_what_lies_long_back_does_not_count() -> None:
    assert delay((0, 1, 2, 3, 4), 1000.0, 1.0) == 1
    assert delay((0, 1, 2, 990), 1000.0, 1.0) == 1


def test_it_is_spread_so_that_many_do_not_start_at_once() -> None:
    assert delay((0, 1), 5.0, 0.5) == 1
    assert delay((0, 1), 5.0, 1.5) == 3
    assert delay((), 5.0, 1.5) is not None
    assert LONGEST == 60
