"""What the passes of a built-in root add up to, for events now and then and for the whole answer."""

from __future__ import annotations

import pytest

from synaptic.dllama.running import Cached, Pass, Traffic
from synaptic.engines.root_events import Figures, NodeFigures, RootAnswered, Storage, TokensPassed
from synaptic.engines.root_figures import PassFigures

A, B = "10.0.0.1:9999", "10.0.0.2:9999"


def passed(tokens: int, *traffic: Traffic) -> Pass:
    return Pass(tokens, 0, 0.002, 0.004, traffic)


@pytest.fixture
def figures() -> PassFigures:
    return PassFigures("demo", "layers", seldom=1.0)


def test_a_whole_answer_is_the_sum_of_its_passes(figures):
    figures.add(passed(32, Traffic(A, 9_001_000, 1_000, 0.1), Traffic(B, 1_000, 1_000, 0.2)), now=0.0)
    figures.add(passed(1, Traffic(A, 9_001_100, 1_200, 0.15), Traffic(B, 1_100, 1_300, 0.2)), now=0.1)
    figures.add(passed(1, Traffic(A, 9_001_200, 1_400, 0.2), Traffic(B, 1_200, 1_600, 0.2)), now=0.2)
    *_, whole = figures.end()
    assert isinstance(whole, RootAnswered)
    assert (whole.prompt.tokens, whole.prompt.computing_ms, whole.prompt.waiting_ms) == (32, 2.0, 4.0)
    assert whole.prompt.nodes[1:] == (NodeFigures(A, 1_000, 1_000, 100.0), NodeFigures(B, 1_000, 1_000, 200.0))
    answer = {each.node: each for each in whole.answer.nodes}
    assert (whole.answer.tokens, answer["here"].ms) == (2, 4.0)
    assert (answer[A].bytes_up, answer[A].bytes_down, round(answer[A].ms)) == (200, 400, 100)
    assert (answer[B].bytes_up, answer[B].bytes_down, round(answer[B].ms)) == (200, 600, 0)


def test_events_come_seldom_and_nothing_is_left_out(figures):
    told = [event for step in range(100) for event in figures.add(passed(1), now=step * 0.1)]
    told += [event for event in figures.end() if isinstance(event, TokensPassed)]
    assert 10 <= len(told) <= 12
    assert sum(event.figures.tokens for event in told) == 100
    assert {event.phase for event in told} == {"answer"}


def test_the_weights_that_went_before_the_first_pass_count_for_no_token_and_a_new_session_counts_anew(figures):
    figures.add(passed(1, Traffic(A, 5_000_100, 100, 0.0)), now=0.0)
    figures.session_began()
    figures.add(passed(1, Traffic(A, 7_000_050, 50, 0.0)), now=0.1)
    *_, whole = figures.end()
    assert isinstance(whole, RootAnswered)
    assert [(each.bytes_up, each.bytes_down) for each in whole.answer.nodes if each.node == A] == [(150, 150)]


def test_a_new_answer_begins_at_nothing_and_one_without_a_pass_says_nothing(figures):
    figures.add(passed(1), now=0.0)
    figures.end()
    figures.begin()
    assert figures.end() == []
    figures.add(passed(4), now=9.0)
    *_, whole = figures.end()
    assert isinstance(whole, RootAnswered)
    assert (whole.prompt.tokens, whole.answer) == (4, Figures())


def test_what_came_from_disk_is_told(figures):
    figures.add(passed(1), now=0.0)
    figures.read(Cached(32, 24, 800, 0.5))
    figures.read(Cached(32, 28, 400, 0.25))
    *_, whole = figures.end()
    assert isinstance(whole, RootAnswered)
    assert whole.storage == Storage(layers=64, hits=52, bytes=1200, ms=750.0)
    assert whole.storage.said == "81% of the layers were in memory, 1.6 KiB/s from disk"


def test_of_a_mixture_the_experts_count_too(figures):
    figures.add(passed(1), now=0.0)
    figures.read(Cached(10, 10, 0, 0.0, experts=40, expert_hits=10))
    figures.read(Cached(10, 10, 4096, 0.001, experts=40, expert_hits=20))
    *_, whole = figures.end()
    assert isinstance(whole, RootAnswered)
    assert whole.storage
    assert (whole.storage.experts, whole.storage.expert_hits) == (80, 30)
    assert whole.storage.said == "100% of the layers and 38% of the experts were in memory, 3.9 MiB/s from disk"
