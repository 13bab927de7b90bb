"""The cost model against worked examples and published figures, each with the error it may have."""

from __future__ import annotations

import dataclasses

import pytest

from synaptic.endpoint import Endpoint
from synaptic.planning.costmodel import FILLED, INPUTS, PROMPT, bandwidth, predict
from synaptic.planning.placement import Machine, Placement, place
from synaptic.planning.shape import Shape
from synaptic.planning.speeds import Speed

GB, GIB = 10**9, 1 << 30
V100S = Speed(1134e9, link=3e9, compute=28e12)  # HBM2, from its specification; behind InfiniBand


def qwen_72b(file: float, embedding: float, quantization: str) -> Shape:
    """80 layers of 8192, 8 heads of 128 for keys and values, a vocabulary of 152064."""
    layer = int((file - 2 * embedding) / 80)
    return Shape((layer,) * 80, int(embedding), int(embedding), 2048, 8192, 29568, 152064, 72_700_000_000, 72_700_000_000, quantization)


Q8_0, Q4_K_M = qwen_72b(77.3e9, 1.32e9, "Q8_0"), qwen_72b(47.4e9, 0.75e9, "Q4_K_M")


def three_v100s(speed: Speed | None = V100S) -> list[Machine]:
    """The head and two workers behind InfiniBand."""
    workers = [Machine(Endpoint("10.0.0.1", number), 32 * GIB, speed, 1e-4) for number in (32, 33)]
    return [Machine(None, 32 * GIB, speed), *workers]


@pytest.mark.parametrize(("shape", "low", "high"), [(Q8_0, 10.1, 10.8), (Q4_K_M, 13.5, 15.1)])
def test_72b_on_three_v100s(shape, low, high) -> None:
    placed = place(shape, three_v100s(), context=FILLED)
    said = placed.prediction
    assert placed.fits
    assert low <= said.expected <= high
    assert said.tokens_per_second == pytest.approx((said.expected * 0.65, said.expected * 1.35))
    assert said.bottleneck.startswith("memory bandwidth, 9")
    assert "3 machines one after another" in said.bottleneck
    assert len({share.layers for share in placed.shares}) <= 2


def test_its_memory_lies_within_the_target() -> None:
    placed = place(Q8_0, three_v100s(), context=8192)
    assert placed.fits
    assert all(25.5e9 < share.bytes < 28e9 for share in placed.shares)
    assert Q8_0.kv_bytes(80, 1024) == 327_680 * 1024


def test_it_is_as_fast_over_more_of_the_same() -> None:
    """Layers are computed one after another: a fourth machine adds memory, not speed."""
    three = place(Q8_0, three_v100s(), context=FILLED)
    four = place(Q8_0, [*three_v100s(), Machine(Endpoint("10.0.0.1", 34), 32 * GIB, V100S, 1e-4)], context=FILLED)
    assert four.prediction.step == pytest.approx(three.prediction.step, rel=0.03)


def test_three_users_together_get_nearly_three_times_the_tokens() -> None:
    placed = place(Q8_0, three_v100s(), context=FILLED, slots=3)
    assert 28 <= placed.prediction.expected <= 31


@pytest.mark.parametrize(("prompt", "seconds"), [(128, 0.7), (500, 2.6), (2000, 10.4)])
def test_reading_a_prompt_is_bound_by_compute(prompt, seconds) -> None:
    placed = place(Q8_0, three_v100s(), context=FILLED)
    said = predict(Q8_0, placed.shares, three_v100s(), FILLED, prompt=prompt)
    low, high = (each / 1000 for each in said.ttft_ms)
    assert low < seconds < high
    assert (low + high) / 2 == pytest.approx(seconds, rel=0.06)


@pytest.mark.parametrize(("link", "seconds"), [(125e6, 206), (1.25e9, 21)])
def test_loading_a_third_over_the_network(link, seconds) -> None:
    """25.8 GB over 1 and 10 GbE: the largest share at best, all shares one after another at worst."""
    shape = qwen_72b(77.4e9, 1e3, "Q8_0")
    speed = Speed(500e9, 1e-4, link, 1.0)
    machines = [Machine(Endpoint("10.0.0.1", number), 32 * GIB, speed, 1e-4) for number in (1, 2, 3)]
    low, high = place(shape, machines, context=FILLED).prediction.load_seconds
    assert low == pytest.approx(seconds * 0.85, rel=0.06)
    assert high == pytest.approx(3 * seconds * 1.35, rel=0.06)


@pytest.mark.parametrize(
    ("file", "active", "machines", "speed", "measured", "error"),
    [
        (243e9, 1.0, 4, 256e9, 0.71, 0.20),  # 405B Q4_K_M
        (216e9, 32 / 355, 2, 256e9, 9.08, 0.20),  # GLM-4.6 355B-A32B
        (138e9, 10 / 229, 2, 256e9, 18.5, 0.25),  # MiniMax-M2
    ],
    ids=["405B", "GLM-4.6", "MiniMax-M2"],
)
def test_published_speeds_over_rpc(file, active, machines, speed, measured, error) -> None:
    """Boards with 256 GB/s of LPDDR5X and 128 GB, behind 5 GbE or Thunderbolt."""
    layers = 126 if active == 1 else 92 if measured < 10 else 62
    shape = Shape(
        (int(file / layers),) * layers, 10**9, 10**9, 2048, 6144, 16384, 150_000, int(file * 2), int(file * 2 * active), "Q4_K_M", active
    )
    workers = [Machine(Endpoint("10.0.0.1", number), 122 * GIB, Speed(speed, 3e-4, 6e8), 3e-4) for number in range(1, machines + 1)]
    placed = place(shape, workers, context=256, must_use_all=True)
    assert placed.fits
    assert placed.prediction.expected == pytest.approx(measured, rel=error)
    low, high = placed.prediction.tokens_per_second
    assert low < measured < high


@pytest.mark.parametrize(("one_way", "measured", "error"), [(1, 12.2, 0.10), (2, 18.9, 0.21), (5, 28.2, 0.05), (10, 49.3, 0.06)])
def test_every_worker_costs_a_round_trip(one_way, measured, error) -> None:
    """Two workers, each `one_way` ms from the coordinator and back, and a model that takes 7 ms."""
    shape = Shape((1 << 20,) * 8, 1 << 20, 1 << 20, 16, 512, 1400, 2048, 16 << 20, 16 << 20, "Q8_0")
    speed = Speed(shape.bytes / 0.006, 2 * one_way / 1000, 1e9, 1.0)
    workers = [Machine(Endpoint("10.0.0.1", number), 8 * GIB, speed, 2 * one_way / 1000) for number in (1, 2)]
    placed = place(shape, workers, context=512, must_use_all=True)
    assert placed.prediction.step * 1000 == pytest.approx(measured, rel=error)


def test_measured_machines_have_the_narrower_range() -> None:
    def width(speed: Speed | None) -> float:
        low, high = place(Q8_0, three_v100s(speed), context=FILLED).prediction.tokens_per_second
        return high / low

    measured, specified, unknown = width(Speed(800e9, 1e-4, 1e9, 1.0, 28e12)), width(V100S), width(None)
    assert measured == pytest.approx(1.15 / 0.85)
    assert specified == pytest.approx(1.35 / 0.65)
    assert unknown > 50
    assert place(Q8_0, three_v100s(None), context=FILLED).prediction.is_assumed


def test_the_terms_are_the_whole_and_each_has_a_name() -> None:
    said = place(Q8_0, three_v100s(), context=FILLED).prediction
    assert said.step == pytest.approx(sum(term.seconds for term in said.terms))
    assert [str(term) for term in said.terms][:3] == [
        "memory bandwidth of 10.0.0.1:32",
        "memory bandwidth of 10.0.0.1:33",
        "memory bandwidth of this machine",
    ]
    assert sum(term.seconds for term in said.terms if term.what == "network latency") == pytest.approx(2e-4)


SMALL = Shape((1 << 20,) * 8, 1 << 20, 1 << 20, 16, 512, 1400, 2048, 16 << 20, 16 << 20, "Q8_0")


def two_workers(round_trip: float) -> Placement:
    workers = [Machine(Endpoint("10.0.0.1", number), 8 * GIB, Speed(1e9, round_trip, 1e6, 1.0), round_trip) for number in (1, 2)]
    return place(SMALL, workers, context=512, slots=3, must_use_all=True)


def test_each_token_moves_activations_to_each_worker_and_back_and_the_last_one_sends_the_logits() -> None:
    moved = [term.seconds * 1e6 for term in two_workers(1e-3).prediction.terms if term.what == "network bandwidth"]
    assert moved == pytest.approx([INPUTS + 3 * 4 * (512 + 512), INPUTS + 3 * 4 * (512 + 2048)])


def test_a_worker_on_this_machine_has_no_network() -> None:
    assert not [term for term in two_workers(0.0).prediction.terms if term.what.startswith("network")]


@pytest.mark.parametrize(
    ("quantization", "active", "part"), [("Q8_0", 1.0, 0.71), ("Q4_0", 1.0, 0.59), ("Q5_K_S", 1.0, 0.62), ("Q8_0", 0.1, 0.60)]
)
def test_a_specified_memory_is_used_in_part_and_less_by_experts(quantization: str, active: float, part: float) -> None:
    shape = dataclasses.replace(SMALL, quantization=quantization, active_share=active)
    assert bandwidth(Machine(None, None, Speed(100e9)), shape) == pytest.approx(part * 100e9)


def test_a_distant_worker_is_named_as_the_bottleneck() -> None:
    far = [Machine(Endpoint("10.0.0.1", 1), None, Speed(1e12, measured_at=1.0), 0.3)]
    small = Shape((10**6,) * 4, 10**5, 10**5, 256, 256, 700, 1000, 4 * 10**6, 4 * 10**6, "Q8_0")
    assert _placed(small, far).prediction.bottleneck.startswith("network latency to 10.0.0.1:1, 100%")


def _placed(shape: Shape, machines: list[Machine]) -> Placement:
    return place(shape, machines, context=PROMPT)
