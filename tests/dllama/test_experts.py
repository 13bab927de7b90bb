"""A mixture of experts that is bigger than its memory: only those are read that tokens are sent to, and the last used ones stay."""

from __future__ import annotations

import os

import numpy as np
import pytest
from dllama.synthetic import write_model

from synaptic.dllama.layers import LayerRoot
from synaptic.dllama.local import LayerCache, needs
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.running import Cached, nobody
from synaptic.dllama.runs import Run
from synaptic.dllama.to_worker import CallOff

TEXT = [(7 * number) % 700 for number in range(77)]
LAYERS, EXPERTS, ACTIVE = 5, 24, 2


@pytest.fixture
def file(tmp_path):
    return ModelFile(write_model(tmp_path / "m.m", "qwen3moe", layers=LAYERS, experts=EXPERTS, active=ACTIVE))


def opened(running, tell=nobody):
    running.open(CallOff(), tell)
    return running


def answers(running):
    """Logits after a prompt and two more tokens."""
    return [running.feed(*each).copy() for each in ((TEXT[:-2], 0), (TEXT[-2:-1], len(TEXT) - 2), (TEXT[-1:], len(TEXT) - 1))]


@pytest.mark.parametrize("more", [0, 1, 5, 17, 18, 30, 70, 113])
def test_with_any_number_of_places_it_computes_the_same(file, more):
    expected = answers(opened(LayerRoot(file, [Run(None, 0, LAYERS)])))
    needed = needs(file.header)
    memory = needed.least + (LAYERS - 2) * needed.layer + more * needed.expert
    assert memory < needed.whole
    assert (needed.pinned(memory), needed.places(memory)) == (LAYERS, 3 * ACTIVE + more)
    running = opened(LayerCache(file, memory))
    for _ in range(2):
        assert all((ours == theirs).all() for ours, theirs in zip(answers(running), expected, strict=True))
    running.close()


def test_experts_that_nobody_is_sent_to_are_not_read(file):
    facts, needed = [], needs(file.header)
    running = opened(LayerCache(file, needed.least + (LAYERS - 2) * needed.layer + 40 * needed.expert), facts.append)
    running.feed([1], 0)
    running.feed([1], 0)
    running.feed([2], 1)
    running.close()
    first, again, other = (each for each in facts if isinstance(each, Cached))
    each = file.header.bytes_per_expert
    assert (first.experts, first.expert_hits, first.read) == (LAYERS * ACTIVE, 0, LAYERS * ACTIVE * each)
    assert (again.experts, again.expert_hits, again.read) == (LAYERS * ACTIVE, LAYERS * ACTIVE, 0)
    assert other.read == (other.experts - other.expert_hits) * each
    assert first.read < LAYERS * EXPERTS * each / 10


def test_the_last_used_ones_stay(file):
    """With room for those of one token in all layers: those of the token before are gone, one layer after another."""
    facts, needed = [], needs(file.header)
    running = opened(LayerCache(file, needed.least + (LAYERS - 2) * needed.layer + (LAYERS - 3) * ACTIVE * needed.expert), facts.append)
    for _ in range(3):
        running.feed([1], 0)
    running.feed([650], 0)
    running.feed([1], 0)
    running.close()
    hits = [each.expert_hits for each in facts if isinstance(each, Cached)]
    assert hits[:3] == [0, LAYERS * ACTIVE, LAYERS * ACTIVE]
    assert hits[4] < LAYERS * ACTIVE


def test_a_machine_that_runs_short_gets_places_back_first(file):
    is_short, needed = [True, True, True, True, True], needs(file.header)
    memory = needed.least + (LAYERS - 2) * needed.layer + 20 * needed.expert
    running = opened(LayerCache(file, memory, is_short=lambda: bool(is_short) and is_short.pop()))
    results = [running.feed(TEXT, 0).copy() for _ in range(4)]
    assert (running.pinned, needed.places(memory)) == (LAYERS - 2, 26)  # 13, 6 places, then a layer, and another
    assert all((each == results[0]).all() for each in results)
    running.close()


def test_a_file_that_shrinks_is_an_error(file):
    needed = needs(file.header)
    running = opened(LayerCache(file, needed.least + LAYERS * needed.layer))
    running.feed([1], 0)
    embedding = file.tensors[0]
    os.truncate(file.path, embedding.offset + embedding.bytes)
    with pytest.raises(OSError, match="became shorter"):
        running.feed(list(range(2, 80)), 0)
    running.close()


def test_least_is_what_three_tokens_need(file):
    needed = needs(file.header)
    assert (needed.few, needed.experts) == (3 * ACTIVE, EXPERTS)
    assert needed.expert == pytest.approx(file.header.bytes_per_expert * 20 / 18, rel=1e-6)
    whole = needed.whole - needed.always
    assert whole == pytest.approx(LAYERS * file.header.bytes_per_layer * 20 / 18, rel=1e-3)
    assert np.isclose(needed.least, needed.always + 2 * needed.layer + 6 * needed.expert)
