"""The cost of splitting every layer, against published measurements of distributed-llama."""

from __future__ import annotations

import pytest

from synaptic.planning.tensorcost import Network, Split, extrapolated, sync_bytes, token_seconds

LLAMA_3_8B = Split(32, 4096, 128256, 4.22e9)
LLAMA_3_3B = Split(28, 3072, 128256, 1.8e9)
QWEN3_30B_A3B = Split(48, 2048, 151936, 1.70e9, 50e6)
PI_5 = 9.0e9  # bytes/s that four of them read weights at, each


@pytest.mark.parametrize(
    ("model", "compute", "exchange", "rate"), [(LLAMA_3_8B, 0.117, 0.024, 7.1), (QWEN3_30B_A3B, 0.053, 0.029, 12.2)], ids=["8B", "30B-A3B"]
)
def test_four_raspberry_pi_5_over_gigabit(model, compute, exchange, rate) -> None:
    found = token_seconds(model, 4, PI_5, Network())
    assert found == pytest.approx((compute, exchange), rel=0.02)
    assert 1 / sum(found) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize(("measured", "error"), [(0.146, 0.05), (0.139, 0.05), (0.175, 0.20)], ids=["tuned", "patched", "stock"])
def test_8b_on_four_as_it_was_measured(measured, error) -> None:
    assert sum(token_seconds(LLAMA_3_8B, 4, PI_5, Network())) == pytest.approx(measured, rel=error)


@pytest.mark.parametrize(("machines", "kilobytes"), [(2, 544), (4, 1632), (8, 3808)])
def test_what_travels_for_a_token_is_exact(machines, kilobytes) -> None:
    """Sent and received."""
    assert 2 * sync_bytes(LLAMA_3_8B, machines) / 1024 == kilobytes


def test_what_travels_for_a_token_of_another_model() -> None:
    assert sync_bytes(LLAMA_3_3B, 2) / 1024 == pytest.approx(178, rel=0.005)


def test_one_machine_exchanges_nothing() -> None:
    assert token_seconds(LLAMA_3_8B, 1, 8e9, Network()) == (pytest.approx(0.5275), 0.0)
    assert sync_bytes(LLAMA_3_8B, 1) == 0


def test_the_time_on_more_machines_from_that_on_one_and_two() -> None:
    assert extrapolated(100.0, 60.0, 1) == pytest.approx(100.0)
    assert extrapolated(100.0, 60.0, 2) == pytest.approx(60.0)
    assert extrapolated(100.0, 60.0, 4) == pytest.approx(40.0)
