"""What a worker is asked without a model: how fast it multiplies weights that no cache holds, and what it grants a session."""

from __future__ import annotations

import re

import pytest
from dllama.cpp import cpp_workers  # noqa: F401 - a fixture
from dllama.workers import ALONE, HOST, launched  # noqa: F401 - a fixture

from synaptic.commands.cache import Size
from synaptic.dllama.builder import build_matmul
from synaptic.dllama.graph import OpCode
from synaptic.dllama.measure import MATRIX, SIZE, measure
from synaptic.dllama.sizes import bytes_of
from synaptic.dllama.to_worker import LostWorkerError, connect
from synaptic.dllama.wire import Peer


def test_the_weights_are_more_than_caches_hold_and_few_enough_for_a_slow_link():
    assert 64e6 < SIZE < 150e6


def test_every_matrix_has_weights_of_its_own_and_counts(launched):  # noqa: F811
    _, node = build_matmul(4096, 4096, 3)
    ops = [op for segment in node.segments for op in segment.ops]
    assert [op.index for op in ops if op.code is OpCode.MATMUL] == [0, 1, 2]
    worker = launched()
    speed = measure(Peer(HOST, worker.port), size=3 * MATRIX)  # its results are the sum of three products, or it raises
    assert speed.macs > 1e7 < speed.batch_macs
    assert 0 < speed.round_trip < 10
    found = re.search(r"(\S+ MiB) in use", worker.says("in use"))
    assert found
    assert 3 * MATRIX < (bytes_of(found[1]) or 0) < 4 * MATRIX


@pytest.mark.parametrize(
    ("typed", "granted"), [("700MB", 700 << 20), ("700MiB", 700 << 20), ("0.7G", 751_619_277), ("700000000", 700_000_000)]
)
def test_one_of_ours_tells_what_it_grants_a_session(launched, typed, granted):  # noqa: F811
    """As many bytes as the same word means at `dllama root`."""
    assert Size.parse(typed).bytes == granted
    assert measure(Peer(HOST, launched("--memory", typed).port), size=MATRIX).memory == granted


def test_one_that_grants_too_little_says_so_and_stays(launched):  # noqa: F811
    worker = launched("--memory", "5MB")
    with pytest.raises(LostWorkerError, match="has no room for its part: start it with more"):
        measure(Peer(HOST, worker.port), size=MATRIX)
    worker.says("more than --memory allows")
    worker.serves()


def test_the_original_takes_the_question_for_a_name_and_does_not_tell(cpp_workers):  # noqa: F811
    (worker,) = cpp_workers(1)
    for _ in range(2):
        assert measure(worker.peer, size=2 * MATRIX).memory is None
        worker.wait_until_free()


def test_who_asks_nothing_is_told_nothing(launched):  # noqa: F811
    link = connect(Peer(HOST, launched().port))
    try:
        link.greet(ALONE)
        link.ready()
        link.net(build_matmul(32, 32)[0])
    finally:
        link.finish()
