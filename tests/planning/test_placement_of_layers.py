"""Where layers go: never more than fits, whole numbers that llama.cpp reads as we mean them, no machine that only delays."""

from __future__ import annotations

import dataclasses
import itertools
import re
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptic.endpoint import Endpoint
from synaptic.planning.filling import agreed, reserve
from synaptic.planning.placement import TIE, Machine, Placement, place
from synaptic.planning.shape import Shape
from synaptic.planning.speeds import Speed

GIB, GB = 1 << 30, 10**9
searched = settings(max_examples=100, deadline=None, derandomize=True)


def shape(layers: int = 32, layer: int = 128 << 20, output: int = 256 << 20, quantization: str = "Q4_K_M") -> Shape:
    return Shape((layer,) * layers, output, output, 2048, 4096, 14336, 128256, 8 * GB, 8 * GB, quantization)


def machine(
    number: int, free: float | None = 24, speed: float | None = None, round_trip: float = 0.0, memory: str | None = None, devices: int = 1
) -> Machine:
    size = None if free is None else round(free * GIB)
    each = () if devices == 1 or size is None else (size // devices,) * devices
    measured = Speed(speed * GB, round_trip, measured_at=1.0) if speed else None
    return Machine(Endpoint("10.0.0.1", number), size, measured, round_trip, memory, each)


shapes = st.builds(
    lambda sizes, output: dataclasses.replace(shape(), layer_bytes=tuple(sizes), output_bytes=output),
    st.lists(st.integers(1 << 20, 512 << 20), min_size=1, max_size=48),
    st.integers(0, 1 << 30),
)
fields = st.tuples(
    st.none() | st.floats(0, 12),
    st.none() | st.floats(1, 2000),
    st.sampled_from([0.0, 0.0001, 0.01]),
    st.none() | st.just("shared"),
    st.integers(1, 3),
)
clusters = st.lists(fields, min_size=1, max_size=5).map(lambda rows: [machine(number, *row) for number, row in enumerate(rows, 1)])


def layers_of(placed: Placement) -> list[int]:
    return [share.layers for share in placed.shares]


def as_llama_cpp_splits(split: tuple[float, ...], layers: int) -> list[int]:
    """Its rule, in its 32-bit floats: how many units (the layers, then the output) each device gets."""
    sums = np.cumsum(np.array(split, np.float32), dtype=np.float32)
    borders = list(sums / sums[-1])
    devices = [bisect_right(borders, np.float32(unit) / np.float32(layers + 1)) for unit in range(layers + 1)]
    return [devices.count(number) for number in range(len(split))]


@searched
@given(shapes, clusters, st.integers(1, 131072), st.integers(1, 4), st.booleans())
def test_what_fits_is_whole_and_within_every_memory(model, machines, context, slots, must_use_all) -> None:
    placed = place(model, machines, context=context, slots=slots, must_use_all=must_use_all)
    at = {each.endpoint: each for each in agreed(machines)}
    assert placed.fits is (placed.missing_bytes == 0)
    assert placed.fits is (sum(layers_of(placed)) == model.layers)
    used: dict[str, int] = {}
    for share in placed.shares:
        place_of = at[share.endpoint].memory or str(share.endpoint)
        used[place_of] = used.get(place_of, 0) + share.bytes + (reserve(at[share.endpoint]) if share.layers else 0)
        free = at[share.endpoint].free
        if free is not None and not at[share.endpoint].memory:
            assert used[place_of] <= free
    together = [each.free for each in machines if each.memory and each.free is not None]
    assert used.get("shared", 0) <= min(together, default=used.get("shared", 0))
    if placed.fits:
        assert all(layers_of(placed))
        assert sum(share.weight_bytes for share in placed.shares) == model.bytes
        assert {share.endpoint for share in placed.shares}.isdisjoint(endpoint for endpoint, _ in placed.dropped)
        assert len(placed.shares) + len(placed.dropped) == len(machines)


@searched
@given(shapes, clusters)
def test_llama_cpp_reads_the_split_as_we_mean_it(model, machines) -> None:
    placed = place(model, machines, context=2048)
    if not placed.tensor_split:
        return
    at = {each.endpoint: max(1, len(each.devices)) for each in machines}
    units = iter(as_llama_cpp_splits(placed.tensor_split, model.layers))
    given_to = [sum(itertools.islice(units, at[share.endpoint])) for share in placed.shares]
    assert given_to == [*layers_of(placed)[:-1], layers_of(placed)[-1] + 1]


@searched
@given(st.lists(st.integers(1, 200), min_size=2, max_size=16))
def test_whole_numbers_give_exact_borders(counts) -> None:
    assert as_llama_cpp_splits(tuple(map(float, counts)), sum(counts) - 1) == counts


@searched
@given(shapes, clusters)
def test_leaving_machines_out_makes_nothing_slower(model, machines) -> None:
    placed = place(model, machines, context=2048)
    everyone = place(model, machines, context=2048, must_use_all=True)
    if placed.fits and everyone.fits:
        assert placed.prediction.step <= everyone.prediction.step * (1 + TIE) + 1e-12


@searched
@given(shapes, clusters, st.integers(1, 8))
def test_more_memory_never_makes_it_unfit(model, machines, more) -> None:
    larger = [dataclasses.replace(each, free=None if each.free is None else each.free + more * GIB, devices=()) for each in machines]
    before = place(model, [dataclasses.replace(each, devices=()) for each in machines], context=2048)
    after = place(model, larger, context=2048)
    assert after.fits or not before.fits
    assert after.missing_bytes <= before.missing_bytes


def test_equals_share_by_their_free_memory_when_nothing_is_known() -> None:
    placed = place(shape(), [machine(1, 24), machine(2, 8)], context=4096)
    first, second = layers_of(placed)
    assert first + second == 32
    assert 2.5 < (first + 1) / (second + 1) < 4
    assert placed.prediction.is_assumed
    low, high = placed.prediction.tokens_per_second
    assert high > 20 * low


def test_the_fastest_memory_is_filled_first() -> None:
    placed = place(shape(), [machine(1, 64, speed=10), machine(2, 3, speed=500)], context=4096)
    fast, slow = sorted(placed.shares, key=lambda share: -share.endpoint.port)
    assert fast.bytes + reserve(machine(2, 3)) > 3 * GIB - (160 << 20)  # one more layer would not fit
    assert slow.layers == 32 - fast.layers
    assert "fastest" in placed.why
    here = dataclasses.replace(machine(1, 64, speed=10), endpoint=None)
    worker, rest = place(shape(), [here, machine(2, 3, speed=500)], context=4096).shares
    assert (worker.layers, rest.endpoint) == (fast.layers, None), "also where the output can lie on this machine only"
    here = dataclasses.replace(machine(2, 3, speed=500), endpoint=None)
    *_, last = place(shape(), [machine(1, 64, speed=10), here], context=4096).shares
    assert 3 * GIB - (160 << 20) < last.bytes + reserve(here) <= 3 * GIB, "and where it lies on the fastest"


def test_an_output_as_large_as_many_layers_goes_to_the_fastest_when_that_is_better() -> None:
    """It can hold the output and no layer more, or one of the small layers."""
    placed = place(shape(layers=8, layer=64 << 20, output=1 << 30), [machine(1, 64, speed=10), machine(2, 1.4, speed=500)], context=256)
    assert [share.endpoint.port for share in placed.shares] == [1, 2]


def test_this_machine_stays_last_whatever_the_output_costs_there() -> None:
    """llama.cpp takes its workers first."""
    here = dataclasses.replace(machine(1, 64, speed=10), endpoint=None)
    placed = place(shape(layers=8, layer=64 << 20, output=1 << 30), [here, machine(2, 1.4, speed=500)], context=256)
    assert [share.endpoint for share in placed.shares] == [Endpoint("10.0.0.1", 2), None]


def test_one_in_the_middle_may_be_left_out() -> None:
    """Two are needed: the first and the third, for the second is far away."""
    placed = place(shape(), [machine(1, 3.5, 100), machine(2, 3.5, 90, round_trip=0.05), machine(3, 3.5, 80)], context=4096)
    assert [share.endpoint.port for share in placed.shares] == [1, 3]


def test_those_without_room_for_a_layer_change_nothing_for_the_others() -> None:
    others = [machine(3), machine(4)]
    placed = place(shape(), [machine(1, 0.01), machine(2, 0.01), *others], context=4096)
    assert placed.shares == place(shape(), others, context=4096).shares
    assert [(endpoint.port, why) for endpoint, why in placed.dropped] == [(port, "it has too little free memory") for port in (1, 2)]


def test_layers_of_unequal_size_are_fitted_one_by_one() -> None:
    """Were they all as large as the first, eight would not fit."""
    model = dataclasses.replace(shape(), layer_bytes=(512 << 20, *(64 << 20,) * 15), output_bytes=64 << 20)
    placed = place(model, [machine(1, 1.25), machine(2, 0.8)], context=256)
    assert (placed.fits, layers_of(placed)) == (True, [9, 7])
    assert sum(share.weight_bytes for share in placed.shares) == model.bytes


def test_one_that_would_slow_the_whole_is_left_out_and_says_why() -> None:
    placed = place(shape(), [machine(1, speed=100), machine(2, speed=10)], context=4096)
    assert [share.endpoint.port for share in placed.shares] == [1]
    ((endpoint, why),) = placed.dropped
    assert endpoint.port == 2
    assert re.fullmatch(r"each token would take \d+% longer", why)
    assert placed.tensor_split == ()


def test_a_far_one_is_left_out_even_when_speeds_are_not_known() -> None:
    placed = place(shape(), [machine(1), machine(2, round_trip=0.05)], context=4096)
    assert [share.endpoint.port for share in placed.shares] == [1]
    near = place(shape(), [machine(1), machine(2)], context=4096)
    assert len(near.shares) == 2


def test_all_are_used_where_that_is_what_is_shown() -> None:
    placed = place(shape(layers=4), [machine(1, speed=100), machine(2, speed=10), machine(3)], context=512, must_use_all=True)
    assert len(placed.shares) == 3
    assert (
        place(shape(layers=2), [machine(n) for n in (1, 2, 3)], context=512, must_use_all=True).dropped[0][1]
        == "there are more machines than layers"
    )


def test_memory_that_two_workers_share_counts_once() -> None:
    alone = [machine(1, 4), machine(2, 4)]
    shared = [machine(1, 4, memory="host"), machine(2, 4, memory="host")]
    assert place(shape(), alone, context=4096).fits
    placed = place(shape(), shared, context=4096)
    assert not placed.fits
    assert placed.available_bytes == 4 * GIB
    assert placed.why.startswith("2 machines offer 4 GiB, ")
    assert place(shape(), shared[:1], context=4096).why.startswith("1 machine offers 4 GiB, ")


def test_a_worker_with_two_devices_has_two_numbers_in_the_split() -> None:
    placed = place(shape(), [machine(1, 24, devices=2), machine(2, 12)], context=4096)
    assert len(placed.tensor_split) == 3
    assert sum(placed.tensor_split) == 33
    assert placed.shares[0].compute_bytes == 2 * placed.shares[1].compute_bytes


def test_a_larger_last_layer_set_counts_the_output() -> None:
    """A vocabulary as large as ten layers: the last machine gets fewer of them."""
    placed = place(shape(layers=20, output=1280 << 20), [machine(1), machine(2)], context=256)
    assert layers_of(placed) == [15, 5]


@pytest.mark.parametrize("free", [1, 2, 3])
def test_each_way_to_make_it_fit_does(free) -> None:
    machines = [machine(1, free, memory="a"), machine(2, free)]
    placed = place(shape(), machines, context=32768, slots=2)
    assert not placed.fits
    assert placed.missing_bytes > 0
    for each in placed.alternatives:
        word, _, number = each.change.rpartition(" ")
        match word:
            case "--ctx":
                again = place(shape(), machines, context=int(number), slots=2)
            case "--parallel":
                again = place(shape(), machines, context=32768, slots=int(number))
            case "a KV cache in":
                again = place(shape(), machines, context=32768, slots=2, kv_type=number)
            case _:
                size = int(re.search(r"with (\d+) GiB", each.change)[1])
                again = place(shape(), [*machines, machine(9, size)], context=32768, slots=2)
        assert again.fits, each.change
        assert "to spare" in each.effect
    assert any(each.change.startswith("one more worker") for each in placed.alternatives)


def test_the_longest_context_that_fits_is_offered() -> None:
    placed = place(shape(), [machine(1, 7)], context=65536)
    change = next(each.change for each in placed.alternatives if "--ctx" in each.change)
    context = int(change.split()[1])
    assert place(shape(), [machine(1, 7)], context=context).fits
    assert not place(shape(), [machine(1, 7)], context=2 * context).fits
