"""How vLLM lies over accelerators: what it demands, what the links allow, and what others measured."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaptic.planning.architecture import Architecture
from synaptic.planning.parallelism import OWN, Accelerator, Layout, Link, Site, best, by_rule, layouts

GIB = 1 << 30
MISTRAL_SMALL = Architecture(56, 6144, 48, 8, 128, 16384, 32768, "awq")
LLAMA_70B = Architecture(80, 8192, 64, 8, 128, 28672, 128256)
ARC = Accelerator(16 * GIB, 560e9)
GIGABIT, TEN_GIGABIT = Link(200e-6, 117e6), Link(60e-6, 1.17e9)
INFINIBAND = Link(5e-6, 12e9)
NVLINK = Link(6e-6, 300e9)


def chosen(model: Architecture, site: Site, **asked: int) -> tuple[int, int]:
    layout = best(layouts(model, site, **asked), len(site.nodes))
    assert layout
    return layout.tensor, layout.pipeline


def layout(found: list[Layout], tensor: int, pipeline: int, nodes: int) -> Layout:
    return next(each for each in found if (each.tensor, each.pipeline, each.nodes) == (tensor, pipeline, nodes))


def test_a_model_is_as_large_as_published() -> None:
    """22B parameters, 44 GB as trained, 12 GB in 4 bits; 70.6B parameters."""
    assert MISTRAL_SMALL.bytes / 1e9 == pytest.approx(12.2, abs=0.2)
    assert dataclasses.replace(MISTRAL_SMALL, quantization=None).bytes / 1e9 == pytest.approx(44.5, abs=0.2)
    assert LLAMA_70B.bytes / 2e9 == pytest.approx(70.55, abs=0.1)


def test_a_mixture_is_held_whole_and_read_in_part() -> None:
    """8x7B: 46.7B parameters, 12.9B of them active."""
    mixtral = Architecture(32, 4096, 32, 8, 128, 14336, 32000, experts=8, experts_used=2)
    assert mixtral.bytes / 2e9 == pytest.approx(46.7, abs=0.1)
    assert (mixtral.layers * mixtral.flop / 2 + 2 * mixtral.vocabulary * mixtral.hidden) / 1e9 == pytest.approx(12.9, abs=0.1)


def test_two_machines_with_a_fast_link_are_as_fast_as_others_measured() -> None:
    """273 GB/s each, 200 Gbit/s between them: 2.09 × with tensors cut, 1.08 × with layers cut."""
    fp8 = dataclasses.replace(LLAMA_70B, quantization="fp8")
    found = layouts(fp8, Site((1, 1), Accelerator(119 * GIB, 273e9), Link(8e-6, 22e9)))
    one, tensors, layers = (layout(found, *shape).alone or 0.0 for shape in ((1, 1, 1), (2, 1, 2), (1, 2, 2)))
    assert tensors / one == pytest.approx(2.09, rel=0.1)
    assert layers / one == pytest.approx(1.08, rel=0.1)


@pytest.mark.parametrize(
    ("link", "cut"),
    [(GIGABIT, (1, 2)), (Link(180e-6, 290e6), (1, 2)), (TEN_GIGABIT, (2, 1)), (Link(60e-6, 2e9), (2, 1)), (INFINIBAND, (2, 1))],
)
def test_one_answer_over_two_machines_is_cut_as_their_link_allows(link: Link, cut: tuple[int, int]) -> None:
    """112 exchanges a token with tensors cut: at 200 µs each they cost more than half of the reading saves."""
    assert chosen(MISTRAL_SMALL, Site((1, 1), ARC, link)) == cut


def test_many_answers_move_more_so_the_cut_may_be_another() -> None:
    site = Site((1, 1), ARC, TEN_GIGABIT)
    assert chosen(MISTRAL_SMALL, site, batch=1, context=2048) == (2, 1)
    assert chosen(MISTRAL_SMALL, site, batch=8, context=2048) == (1, 2)


def test_vllms_rule_comes_out_for_large_machines_on_a_slow_link() -> None:
    """Tensors over the eight of a node, layers over the nodes."""
    site = Site((8, 8), Accelerator(80 * GIB, 3350e9, 600e12), TEN_GIGABIT, NVLINK)
    assert chosen(LLAMA_70B, site, batch=32) == (8, 2)
    assert chosen(LLAMA_70B, Site((8,), site.accelerator, inside=NVLINK), batch=32) == (8, 1)


def test_what_fits_one_never_gets_faster_by_cutting_layers() -> None:
    found = layouts(MISTRAL_SMALL, Site((1, 1), Accelerator(24 * GIB, 560e9), GIGABIT))
    assert (layout(found, 1, 2, 2).alone or 0.0) < (layout(found, 1, 1, 1).alone or 0.0)


@pytest.mark.parametrize(
    ("model", "site", "shape", "why"),
    [
        (dataclasses.replace(LLAMA_70B, heads=40), Site((16,), ARC), (16, 1, 1), "40 heads cannot be cut by 16"),
        (dataclasses.replace(LLAMA_70B, heads=12, kv_heads=4), Site((6,), ARC), (6, 1, 1), "4 KV heads cannot be cut by 6"),
        (dataclasses.replace(MISTRAL_SMALL, intermediate=1600), Site((2,), ARC), (2, 1, 1), "ends inside a group of 128 quantized weights"),
        (dataclasses.replace(MISTRAL_SMALL, layers=1), Site((1, 1), ARC, GIGABIT), (1, 2, 2), "1 layer cannot be dealt out to 2 stages"),
        (LLAMA_70B, Site((1, 1), ARC, GIGABIT), (2, 1, 2), "needs .* GiB on each, and vLLM takes 14.4 GiB of theirs"),
    ],
)  # fmt: skip
def test_what_vllm_would_refuse_says_why(model: Architecture, site: Site, shape: tuple[int, int, int], why: str) -> None:
    assert re.search(why, layout(layouts(model, site), *shape).against)


def test_a_kv_head_that_is_shared_is_not_refused() -> None:
    """16 accelerators, 8 KV heads: each head is on two."""
    assert not layout(layouts(LLAMA_70B, Site((16,), Accelerator(80 * GIB))), 16, 1, 1).against


def test_nothing_is_chosen_where_nothing_fits() -> None:
    assert best(layouts(LLAMA_70B, Site((1, 1), ARC, GIGABIT)), 2) is None


def test_a_longer_context_needs_more() -> None:
    site = Site((1, 1), ARC, GIGABIT)
    short, long = (layout(layouts(MISTRAL_SMALL, site, context=tokens), 1, 2, 2).need for tokens in (8192, 16384))
    assert long - short == 8192 * 28 * 2 * 2 * 8 * 128


def test_what_is_not_known_is_not_predicted_and_the_rule_decides() -> None:
    dark = Site((2, 2), Accelerator(), Link())
    found = layouts(MISTRAL_SMALL, dark)
    assert {each.together for each in found if each.nodes == 2} == {None}
    assert chosen(MISTRAL_SMALL, dark) == (2, 2)


@pytest.mark.parametrize("link", [Link(), Link(1e-4, None), Link(None, 1e9)])
def test_over_a_link_that_is_not_known_nothing_is_predicted(link: Link) -> None:
    found = layouts(MISTRAL_SMALL, Site((1, 1), Accelerator(24 * GIB, 560e9), link))
    assert {(each.nodes, each.alone is None) for each in found} == {(1, False), (2, True)}


@pytest.mark.parametrize(
    ("nodes", "way", "inside", "between"),
    [
        ((4,), (4, 1, 1), 336, 0),  # 112 exchanges, of four
        ((4,), (1, 4, 1), 2, 0),  # three half round trips onward, and one back to the first
        ((2, 2), (1, 4, 2), 1, 1),
        ((2, 2), (2, 2, 2), 112, 1),
        ((2, 2), (4, 1, 2), 0, 112),
    ],
)
def test_round_trips_are_counted_where_they_are_made(nodes: tuple[int, ...], way: tuple[int, int, int], inside: int, between: int) -> None:
    def token(near: float, far: float) -> float:
        site = Site(nodes, Accelerator(24 * GIB, 560e9), Link(far, 1e9), Link(near, 20e9))
        return 1 / (layout(layouts(MISTRAL_SMALL, site), *way).alone or 0.0)

    assert (token(2e-3, 0.0) - token(1e-3, 0.0)) / 1e-3 == pytest.approx(inside, abs=1e-6)
    assert (token(0.0, 2e-3) - token(0.0, 1e-3)) / 1e-3 == pytest.approx(between, abs=1e-6)


def test_the_rule_without_a_model() -> None:
    assert by_rule(Site((2, 2), Accelerator(), Link(None, 1.25e9))) == (2, 2)
    assert by_rule(Site((1, 1, 1), Accelerator())) == (1, 3)
    assert by_rule(Site((2, 2), Accelerator(), Link(None, 25e9))) == (4, 1)
    assert by_rule(Site((4,), Accelerator(), Link(None, 1.25e9))) == (4, 1)


@given(
    st.integers(1, 4),
    st.integers(1, 8),
    st.floats(1e-6, 1e-2),
    st.floats(1e6, 1e11),
    st.integers(1, 64),
)
def test_whatever_the_machines_are_the_choice_fits_them(nodes: int, each: int, rtt: float, bandwidth: float, batch: int) -> None:
    site = Site((each,) * nodes, Accelerator(48 * GIB, 800e9, 100e12), Link(rtt, bandwidth))
    found = layouts(MISTRAL_SMALL, site, batch=batch, context=1024)
    picked = best(found, nodes)
    if picked is None:
        assert all(one.against for one in found if one.nodes == nodes)
        return
    assert picked.tensor * picked.pipeline == nodes * each or (picked.tensor, picked.pipeline, nodes) == (1, 1, 1)
    assert picked.need <= 48 * GIB * OWN
    fastest = max(
        one.together or 0.0 for one in found if one is picked or (one.nodes == nodes and not one.against and one.tensor * one.pipeline > 1)
    )
    assert (picked.together or 0.0) >= 0.95 * fastest
