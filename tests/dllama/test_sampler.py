"""Drawing tokens: those that the real program drew from the same logits with the same seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from dllama.puppet import logits_of

from synaptic.dllama.sampler import Sampler, softmax

CLASSIFIER = np.array([[(i * 7919 + j * 104729) % 769 / 512 for j in range(64)] for i in range(64)], np.float32)
RECORDED = {  # temperature, top p, seed → what it said after token 0
    (0.8, 0.9, 1): "10 17 26 54 43 43 43 23 29 62 11 40 25 41 61 62 1 43 60 12 9 48 13 32 20 34 22 63 7 19 8 52 7 19 8 5 27 50 32 30",
    (1.0, 1.0, 12345): "47 44 9 48 6 23 62 31 44 29 45 18 2 2 38 16 3 55 39 2 49 46 41 41 51 44 56 1 16 40 8 8 5 0 3 61 52 14 58 57",
    (
        2.5,
        0.5,
        2**40 + 7,
    ): "10 44 2 32 43 16 30 58 57 31 24 25 61 52 51 11 40 45 25 11 50 59 16 20 61 25 11 6 23 19 1 36 24 35 8 5 57 44 29 35",
}


@pytest.mark.parametrize("setting", RECORDED)
def test_the_real_program_drew_the_same(setting: tuple[float, float, int]) -> None:
    sampler, token, said = Sampler(*setting), 0, []
    for _ in range(40):
        token = sampler.sample(logits_of(CLASSIFIER)[:, token])
        said.append(token)
    assert said == list(map(int, RECORDED[setting].split()))


def test_without_temperature_the_first_of_the_best() -> None:
    logits = np.array([1, 5, 2, 5, 0], np.float32)
    assert [Sampler(0, 0.9, seed).sample(logits) for seed in range(3)] == [1, 1, 1]


def test_the_logits_are_left_as_they_are() -> None:
    logits = np.arange(16, dtype=np.float32)
    Sampler(0.5, 0.9, 1).sample(logits)
    np.testing.assert_array_equal(logits, np.arange(16))


def test_a_seed_of_zero_always_throws_the_same_coin() -> None:
    logits = np.zeros(32, np.float32)
    sampler = Sampler(1.0, 1.0, 0)
    assert {sampler.sample(logits) for _ in range(20)} == {0}


def test_the_same_seed_again_and_negative_ones() -> None:
    logits = np.random.default_rng(1).normal(size=64).astype(np.float32)
    sampler = Sampler(1.0, 0.95, -5)
    first = [sampler.sample(logits) for _ in range(30)]
    sampler = Sampler(1.0, 0.95, 2**64 - 5)
    assert [sampler.sample(logits) for _ in range(30)] == first
    assert len(set(first)) > 5


def test_tokens_come_as_often_as_they_should() -> None:
    odds = np.array([0.5, 0.25, 0.125, 0.0625, 0.03, 0.02, 0.01, 0.0025])
    sampler = Sampler(1.0, 1.0, 42)
    drawn = Counter(sampler.sample(np.log(odds).astype(np.float32)) for _ in range(20_000))
    for token, expected in enumerate(odds):
        assert drawn[token] / 20_000 == pytest.approx(expected, abs=0.012)


def test_top_p_leaves_out_the_unlikely() -> None:
    logits = np.log(np.array([0.02, 0.6, 0.03, 0.25, 0.1])).astype(np.float32)
    sampler = Sampler(1.0, 0.8, 9)
    assert {sampler.sample(logits) for _ in range(500)} == {1, 3}


@pytest.mark.parametrize("count", [1, 7, 8, 768, 1003])
def test_softmax_is_one(count: int) -> None:
    values = np.random.default_rng(count).normal(0, 5, count).astype(np.float32)
    exact = np.exp(values.astype(np.float64) - values.max())
    np.testing.assert_allclose(softmax(values), exact / exact.sum(), rtol=1e-4, atol=1e-9)


def test_numbers_that_are_none_end_in_some_token() -> None:
    logits = np.full(16, np.nan, np.float32)
    assert all(0 <= Sampler(1.0, top_p, 1).sample(logits) < 16 for top_p in (0.5, 1.0))
    assert 0 <= Sampler(0.0, 1.0, 1).sample(logits) < 16
