"""Which worker gets which layers."""

from __future__ import annotations

import doctest
import itertools

import pytest
from dllama.synthetic import write_model
from hypothesis import given
from hypothesis import strategies as st

from synaptic.dllama import runs
from synaptic.dllama.header import read_header
from synaptic.dllama.layers import LayerRoot
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.runs import Run, runs_of, spread
from synaptic.dllama.spreading import Split, Spreading
from synaptic.dllama.wire import Peer

ONE, TWO, THREE = (Peer("127.0.44.1", port) for port in (1, 2, 3))


def test_the_examples():
    assert doctest.testmod(runs).failed == 0


@given(st.integers(1, 200), st.lists(st.floats(0.01, 1000), min_size=1, max_size=12))
def test_every_layer_is_given_once_and_the_faster_get_no_fewer(layers, speeds):
    counts = spread(layers, speeds)
    assert sum(counts) == layers
    ranked = [count for _, count in sorted(zip(speeds, counts, strict=True))]
    assert all(later >= earlier - 1 for earlier, later in itertools.pairwise(ranked))


@given(st.lists(st.tuples(st.floats(0.1, 10), st.integers(0, 20)), min_size=1, max_size=8), st.integers(1, 60))
def test_nobody_gets_more_than_there_is_room_for(workers, layers):
    speeds, most = zip(*workers, strict=True)
    if sum(most) < layers:
        with pytest.raises(ValueError, match=f"room for {sum(most)} of {layers} layers"):
            spread(layers, speeds, most)
    else:
        counts = spread(layers, speeds, most)
        assert sum(counts) == layers
        assert all(count <= room for count, room in zip(counts, most, strict=True))


def test_who_gets_no_layers_gets_no_run():
    assert runs_of([None, ONE, TWO], [2, 0, 5]) == (Run(None, 0, 2), Run(TWO, 2, 7))


@pytest.mark.parametrize("borders", [[(0, 3)], [(0, 3), (4, 6)], [(0, 4), (3, 6)], [(3, 6), (0, 3)], [(0, 0), (0, 6)], []])
def test_runs_are_all_layers_in_order(borders, tmp_path):
    file = ModelFile(write_model(tmp_path / "llama.m"))
    with pytest.raises(ValueError, match="not the layers 0 to 5 in order"):
        LayerRoot(file, [Run(ONE, first, last) for first, last in borders])


def test_without_one_worker_the_others_take_over(tmp_path):
    header = read_header(write_model(tmp_path / "llama.m"))
    by_layers = Spreading((ONE, TWO, THREE), Split.LAYERS, layers=(1, 2, 3), most=(4, 5, 6))
    left = by_layers.without(TWO, header)
    assert left is not None
    assert (left.workers, left.layers, left.most) == ((ONE, THREE), None, (4, 6))
    by_shares = Spreading((ONE, TWO, THREE), Split.TENSOR).without(TWO, header)
    assert by_shares is not None
    assert by_shares.workers == (ONE,)  # three nodes cannot share 8 heads
    assert by_shares.without(ONE, header) is None


def test_a_split_needs_workers_and_none_needs_none():
    for wrong in ({"workers": (ONE,)}, {"split": Split.LAYERS}):
        with pytest.raises(ValueError, match="a split is between workers"):
            Spreading(**wrong)
